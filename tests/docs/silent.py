"""Settings of which one is not explained, for the maker of tables."""

import dataclasses


@dataclasses.dataclass
class Silent:
    """It has a comment, and it has none."""

    said: int = 1  # how many
    field: int | None = 3
