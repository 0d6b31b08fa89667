"""The errors that the science library raises; catch `CdvaeError` to catch them all."""

from collections.abc import Sequence


class CdvaeError(Exception):
    """Base of every error that the library raises on purpose."""


class ModelStoreError(CdvaeError):
    """A model folder is missing, incomplete or damaged; the text says what and where."""


class NonFiniteSampleError(CdvaeError):
    """Sampling produced NaN or infinite coordinates; `indices` are the crystals of the batch."""

    def __init__(self, indices: Sequence[int]) -> None:
        self.indices = tuple(int(index) for index in indices)
        shown = ", ".join(str(index) for index in self.indices[:10])
        more = ", …" if len(self.indices) > 10 else ""
        super().__init__(f"non-finite coordinates in {len(self.indices)} crystals: {shown}{more}")


class InfeasibleError(CdvaeError):
    """No crystal that the model could make meets the constraints; the text says which and why."""


class Cancelled(CdvaeError):  # noqa: N818 (a request of the caller, not a fault)
    """The caller asked to stop."""


class DataError(CdvaeError):
    """Source data cannot be read; `problems` has one sentence for each bad row or file."""

    def __init__(self, message: str, problems: Sequence[str] = ()) -> None:
        self.problems = tuple(problems)
        lines = [message, *self.problems[:20]]
        if len(self.problems) > 20:
            lines.append(f"… and {len(self.problems) - 20} more")
        super().__init__("\n  ".join(lines))
