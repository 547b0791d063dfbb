"""Market-1501 of the drawn world: six cameras, queries, junk and distractors, without captions."""

from tpr.drawn.cameras import MARKET
from tpr.drawn.plan import Plan, Shot, Studio

MARKET_IMAGES = 2
"""Images of a person before one camera."""
JUNK_SHARE, DISTRACTOR_SHARE = 0.5, 0.3
"""Junk images and distractors per test identity."""


def plan_market1501(identities: int, seed: int) -> Plan:
    """As many training people as test people; each is seen by some of six cameras.

    One image of each test person and camera is a query, the others are gallery.
    """
    studio = Studio("market1501", seed)
    shots: list[Shot] = []

    def add(folder: str, identity: int, person: int, camera: int) -> None:
        number = len(shots)
        _, view = studio.view((MARKET[camera],), number)
        frame = studio.stream("frame", number).randint(0, 99_999)
        name = f"{identity:04d}" if identity >= 0 else str(identity)
        path = f"{folder}/{name}_c{camera}s1_{frame:06d}_{number:02d}.jpg"
        shots.append(Shot(path, identity, studio.person(person), view, MARKET[camera].name))

    numbers = studio.names.sample(range(1, 8 * identities), 2 * identities)
    for person, identity in enumerate(numbers):
        seen = sorted(studio.stream("seen", person).sample(sorted(MARKET), 4))
        for camera in seen:
            for which in range(MARKET_IMAGES):
                is_query = which == 0
                test = "query" if is_query else "bounding_box_test"
                add("bounding_box_train" if person < identities else test, identity, person, camera)
    strangers = studio.stream("strangers")
    for identity, share in ((-1, JUNK_SHARE), (0, DISTRACTOR_SHARE)):
        for _ in range(max(1, round(share * identities))):
            # Nobody whom the dataset names; junk is a part of one of its people as likely as anybody.
            add("bounding_box_test", identity, 2 * identities + len(shots), strangers.choice(sorted(MARKET)))
    return Plan("Market-1501-v15.09.15", shots, {}, 0, 2 * identities)
