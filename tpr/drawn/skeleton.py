"""The pose of a figure: joints of a walking person, turned about the vertical and seen from the front.

Lengths are shares of the body height, y grows upwards from the ground. Seen by the camera a joint is
(x, y, depth); depth grows towards the viewer.
"""

import math
from dataclasses import dataclass

from tpr.drawn.people import Person
from tpr.drawn.views import View

Point = tuple[float, float]
Joint = tuple[float, float, float]

SHOULDER, HIP, THIGH, SHIN, UPPER_ARM, FOREARM, ANKLE = 0.805, 0.50, 0.235, 0.225, 0.155, 0.145, 0.04


@dataclass(frozen=True, slots=True)
class Limb:
    """Three joints of an arm or a leg, from the body outwards."""

    root: Joint
    middle: Joint
    end: Joint

    @property
    def depth(self) -> float:
        """How near the limb is to the viewer."""
        return self.root[2] + 0.2 * self.end[2]


@dataclass(frozen=True, slots=True)
class Skeleton:
    """Everything a painter needs to know about the pose."""

    turn: float
    """Cosine of the yaw: 1 front, -1 back."""
    side: float
    """Sine of the yaw: 1 looks to the right of the image, -1 to the left."""
    head: Point
    head_size: float
    shoulder_width: float
    """Half the width of the shoulders as seen."""
    waist_width: float
    hip_width: float
    legs: tuple[Limb, Limb]
    """The far one first."""
    arms: tuple[Limb, Limb]
    lift: float
    """Added to every height: a long stride lowers the body."""

    @property
    def facing_away(self) -> bool:
        """True when the back is seen."""
        return self.turn < -0.3


def build_skeleton(person: Person, view: View) -> Skeleton:
    """The joints of this person in this view."""
    turn, side = math.cos(view.yaw), math.sin(view.yaw)
    broad = person.build * (1.05 if person.gender == "man" else 0.94)
    swings = [view.stride * math.sin(view.phase), -view.stride * math.sin(view.phase)]
    legs = [
        _leg(sign * 0.048 * person.build, swing, turn, side)
        for sign, swing in zip((-1, 1), swings, strict=True)
    ]
    arms = [
        _arm(sign * 0.106 * broad, -swing, turn, side) for sign, swing in zip((-1, 1), swings, strict=True)
    ]
    lift = ANKLE - min(leg.end[1] for leg in legs)
    child = person.age == "child"
    return Skeleton(
        turn=turn,
        side=side,
        head=(0.018 * side, 0.915 - (0.012 if child else 0.0)),
        head_size=0.088 if child else 0.076,
        shoulder_width=broad * (0.099 * abs(turn) + 0.060 * abs(side)),
        waist_width=person.build * (0.075 * abs(turn) + 0.060 * abs(side)),
        hip_width=person.build * (0.087 * abs(turn) + 0.068 * abs(side)),
        legs=_by_depth(legs),
        arms=_by_depth(arms),
        lift=lift,
    )


def _by_depth(limbs: list[Limb]) -> tuple[Limb, Limb]:
    far, near = sorted(limbs, key=lambda limb: limb.depth)
    return far, near


def _turned(x: float, y: float, z: float, turn: float, side: float) -> Joint:
    """A joint of the body (x to its left, z ahead) as the camera sees it."""
    return x * turn + z * side, y, z * turn - x * side


def _leg(x: float, swing: float, turn: float, side: float) -> Limb:
    bend = 0.12 + (0.9 * -swing if swing < 0 else 0.0)
    knee_y, knee_z = HIP - THIGH * math.cos(swing), THIGH * math.sin(swing)
    foot_y, foot_z = knee_y - SHIN * math.cos(swing - bend), knee_z + SHIN * math.sin(swing - bend)
    return Limb(
        _turned(x, HIP, 0.0, turn, side),
        _turned(x * 1.1, knee_y, knee_z, turn, side),
        _turned(x * 1.15, foot_y, foot_z, turn, side),
    )


def _arm(x: float, swing: float, turn: float, side: float) -> Limb:
    swing *= 0.9
    elbow_y, elbow_z = SHOULDER - 0.02 - UPPER_ARM * math.cos(swing), UPPER_ARM * math.sin(swing) - 0.012
    bend = 0.25 + max(0.0, swing) * 0.8
    hand_y, hand_z = elbow_y - FOREARM * math.cos(swing + bend), elbow_z + FOREARM * math.sin(swing + bend)
    return Limb(
        _turned(x * 0.93, SHOULDER - 0.02, 0.0, turn, side),
        _turned(x * 1.2, elbow_y, elbow_z, turn, side),
        _turned(x * 1.22, hand_y, hand_z, turn, side),
    )
