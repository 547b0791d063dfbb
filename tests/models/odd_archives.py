"""TorchScript archives for tests: some that act when torch loads them, and one in OpenAI's layout."""

import warnings
from pathlib import Path

import torch
from torch import Tensor, nn


class WritingHook(nn.Module):
    """Leaves a file behind when torch restores it."""

    def __init__(self, victim: str) -> None:
        super().__init__()
        self.victim, self.made = victim, torch.zeros(0)

    @torch.jit.export
    def __getstate__(self) -> tuple[str, bool]:
        return self.victim, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[str, bool]) -> None:
        self.victim = state[0]
        self.training = state[1]
        self.made = torch.from_file(self.victim, shared=True, size=4)

    def forward(self, value: Tensor) -> Tensor:
        return value


class LoopingHook(nn.Module):
    """Never ends when torch restores it."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    @torch.jit.export
    def __getstate__(self) -> tuple[int, bool]:
        return self.count, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[int, bool]) -> None:
        self.training = state[1]
        self.count = state[0]
        while self.count >= 0:
            self.count = (self.count + 1) % 100

    def forward(self, value: Tensor) -> Tensor:
        return value


class Writing(nn.Module):
    """Weights beside a module that writes."""

    def __init__(self, victim: str) -> None:
        super().__init__()
        self.body, self.hook = nn.Linear(3, 2), WritingHook(victim)

    def forward(self, value: Tensor) -> Tensor:
        return self.hook(self.body(value))


class Looping(nn.Module):
    """Weights beside a module that loops."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.hook = nn.Linear(3, 2), LoopingHook()

    def forward(self, value: Tensor) -> Tensor:
        return self.hook(self.body(value))


class Block(nn.Module):
    """A transformer block in OpenAI's names."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(width, 1)
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, value: Tensor) -> Tensor:
        return self.ln_2(self.ln_1(value))


class Transformer(nn.Module):
    """Blocks in OpenAI's names."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.resblocks = nn.Sequential(Block(width), Block(width))

    def forward(self, value: Tensor) -> Tensor:
        return self.resblocks(value)


class Visual(nn.Module):
    """An image tower in OpenAI's names."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 16, 16, bias=False)
        self.class_embedding, self.proj = nn.Parameter(torch.randn(8)), nn.Parameter(torch.randn(8, 4))
        self.positional_embedding = nn.Parameter(torch.randn(5, 8))
        self.transformer = Transformer(8)

    def forward(self, value: Tensor) -> Tensor:
        return self.transformer(self.conv1(value).flatten(2)) @ self.proj


class OpenAi(nn.Module):
    """Both towers in OpenAI's names, with the sizes that its files hold as tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.visual, self.transformer = Visual(), Transformer(8)
        self.token_embedding, self.ln_final = nn.Embedding(50, 8), nn.LayerNorm(8)
        self.positional_embedding = nn.Parameter(torch.randn(8, 8))
        self.text_projection, self.logit_scale = nn.Parameter(torch.randn(8, 4)), nn.Parameter(torch.ones([]))
        for name, size in (("input_resolution", 32), ("context_length", 8), ("vocab_size", 50)):
            self.register_buffer(name, torch.tensor(size))

    def forward(self, value: Tensor) -> Tensor:
        return self.visual(value)


def save_script(module: nn.Module, path: Path) -> None:
    """A scripted module, without torch's word that TorchScript is going away."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(module).save(str(path))


def make_openai_archive(path: Path) -> None:
    """Half precision but for the norms, as OpenAI's files are."""
    model = OpenAi().eval().half()
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            module.float()
    save_script(model, path)
