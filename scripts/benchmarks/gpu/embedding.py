"""Images and captions to vectors on the device, as evaluation and an index of a collection need them."""

import torch

from benchmarks.gpu.section import Bench, Section, count_flops
from benchmarks.gpu.stepper import describe_setting, draw_pairs, open_recipe, with_runtime
from tpr.data.images.chains import CLIP_CHAIN
from tpr.data.images.transforms import normalise_pixels
from tpr.data.samples.batch import Batch
from tpr.engine.precision import choose_precision
from tpr.systems import build_system

BATCH, ROUNDS = 512, 390
"""About 200,000 crops."""


@torch.no_grad()
def run(bench: Bench, section: Section) -> None:
    """ViT-B/16 at 384 x 128 in bf16; images arrive as bytes on the device and are normalised there."""
    experiment = with_runtime(open_recipe(bench, "irra/cuhk_pedes.yaml"), precision="bf16")
    torch.manual_seed(1)
    system = build_system(experiment, describe_setting(experiment)).to(bench.device).eval()
    arithmetic = choose_precision(experiment.runtime, bench.device)
    size = 16 if bench.quick else BATCH
    table = section.add_table(
        f"Vectors of crops and captions, batches of {size}", "what", "items/s", "share of peak"
    )
    height, width = experiment.data.image_size
    pixels = torch.randint(0, 256, (size, 3, height, width), dtype=torch.uint8, device=bench.device)
    texts = draw_pairs((height, width), size, bench.device)

    def encode_image() -> None:
        with arithmetic.autocast():
            system.encode(Batch(images=normalise_pixels(pixels, CLIP_CHAIN)), "image")

    def encode_text() -> None:
        with arithmetic.autocast():
            system.encode(texts, "text")

    for name, call, rounds in (("images", encode_image, ROUNDS), ("captions", encode_text, ROUNDS // 4)):
        seconds = bench.time(call, rounds=rounds)
        rate, _, share = bench.describe(size, seconds, count_flops(call))
        table.add(name, rate, share)
