"""The kinds of training sample: what one is, and how its images are finished on the device.

A kind owns its samples, its samplers and its transform; systems name one in their `Views`.
"""

from dataclasses import dataclass

from tpr.data.images.infrared import CrossModalityTransform
from tpr.data.images.transforms import DeviceTransform
from tpr.data.samples.views import LabelledSamples, Samples, TrainingSamples
from tpr.data.samples.visible_infrared import CrossModalitySamples


@dataclass(frozen=True)
class SampleKind:
    """One kind of sample."""

    samples: type[Samples]
    transform: type[DeviceTransform] | type[CrossModalityTransform]


KINDS: dict[str, SampleKind] = {
    "pair": SampleKind(TrainingSamples, DeviceTransform),
    "slot": SampleKind(CrossModalitySamples, CrossModalityTransform),
    "labelled": SampleKind(LabelledSamples, DeviceTransform),
}
"""pair: an image with captions, counted as `data.unit` says; slot: a visible and an infrared image of one
person with their captions; labelled: an image with its identity or attributes."""
