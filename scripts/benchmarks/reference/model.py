"""The published training step: SDM + ID + MLM, two text passes, words guessed at every position."""

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.reference.towers import VOCABULARY, Architecture, CastLayerNorm, Clip, QuickGelu, Transformer


def sdm_loss(image: Tensor, text: Tensor, identity: Tensor, scale: float, epsilon: float = 1e-8) -> Tensor:
    """Similarity distribution matching on the local batch, with dense label matrices."""
    same = (identity.reshape(-1, 1) - identity.reshape(1, -1) == 0).float()
    image = image / image.norm(dim=1, keepdim=True)
    text = text / text.norm(dim=1, keepdim=True)
    text_to_image = scale * (text @ image.t())
    image_to_text = text_to_image.t()
    target = same / same.sum(dim=1)
    total = image.new_zeros(())
    for logits in (image_to_text, text_to_image):
        probability = functional.softmax(logits, dim=1)
        difference = functional.log_softmax(logits, dim=1) - torch.log(target + epsilon)
        total = total + torch.mean(torch.sum(probability * difference, dim=1))
    return total


class Irra(nn.Module):
    """Towers, classifier, cross-modal blocks and masked-word head under the published names."""

    def __init__(self, sizes: Architecture, identities: int, masked_words: bool = True) -> None:
        super().__init__()
        width = sizes.embedding
        self.masked_words = masked_words
        self.base_model = Clip(sizes)
        self.classifier = nn.Linear(width, identities)
        nn.init.normal_(self.classifier.weight, std=0.001)
        nn.init.zeros_(self.classifier.bias)
        if masked_words:
            self.cross_attn = nn.MultiheadAttention(width, width // 64, batch_first=True)
            self.cross_modal_transformer = Transformer(width, 4, width // 64)
            self.ln_pre_t, self.ln_pre_i, self.ln_post = (CastLayerNorm(width) for _ in range(3))
            self.mlm_head = nn.Sequential(
                OrderedDict(
                    dense=nn.Linear(width, width),
                    gelu=QuickGelu(),
                    ln=CastLayerNorm(width),
                    fc=nn.Linear(width, VOCABULARY),
                )
            )

    def fuse(self, text: Tensor, image: Tensor) -> Tensor:
        """(B, L, D): masked caption attends to the image, then to itself; padding is not masked."""
        keys = self.ln_pre_i(image)
        x = self.cross_attn(self.ln_pre_t(text), keys, self.ln_pre_i(image), need_weights=False)[0]
        return self.ln_post(self.cross_modal_transformer(x.permute(1, 0, 2)).permute(1, 0, 2))

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Named losses and, as published, accuracies; the trainer adds up every name that holds `loss`."""
        image_tokens, text_tokens = self.base_model(batch["images"], batch["caption_ids"])
        image = image_tokens[:, 0].float()
        rows = torch.arange(text_tokens.shape[0])
        text = text_tokens[rows, batch["caption_ids"].argmax(dim=-1)].float()
        identity = batch["pids"]
        kind = self.classifier.weight.dtype
        image_logits, text_logits = (self.classifier(side.to(kind)).float() for side in (image, text))
        result = {
            "sdm_loss": sdm_loss(image, text, identity, 1 / 0.02),
            "id_loss": (
                functional.cross_entropy(image_logits, identity)
                + functional.cross_entropy(text_logits, identity)
            )
            / 2,
            "img_acc": (image_logits.argmax(1) == identity).float().mean(),
            "txt_acc": (text_logits.argmax(1) == identity).float().mean(),
        }
        if self.masked_words:
            tokens = self.base_model.encode_text(batch["mlm_ids"])
            scores = self.mlm_head(self.fuse(tokens, image_tokens)).float().reshape(-1, VOCABULARY)
            labels = batch["mlm_labels"].reshape(-1)
            result["mlm_loss"] = functional.cross_entropy(scores, labels, ignore_index=0)
            guess = scores.max(1)[1]
            places = torch.nonzero(labels)
            result["mlm_acc"] = (guess[places] == labels[places]).float().mean()
        return result


def to_half(model: Irra) -> Irra:
    """Weights in float16 as published: all but norms, embeddings and positions, without a float32 copy."""
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d | nn.MultiheadAttention):
            module.half()
    for tower, name in ((model.base_model.visual, "proj"), (model.base_model, "text_projection")):
        projection = getattr(tower, name)
        projection.data = projection.data.half()
    return model


def train_step(model: Irra, batch: dict[str, Tensor]) -> dict[str, float]:
    """Forward and backward; every value is read by the host at once, as published."""
    model.zero_grad()
    values = model(batch)
    total = sum(value for name, value in values.items() if "loss" in name)
    total.backward()
    return {name: value.item() for name, value in values.items()}
