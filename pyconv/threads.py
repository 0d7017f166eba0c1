"""How many threads the cpu backend uses: the public face of its setting."""

from __future__ import annotations

__all__ = ["get_num_threads", "set_num_threads"]


def set_num_threads(count: int) -> None:
    """Use ``count`` threads for every operation of the cpu backend from now on.

    Parameters
    ----------
    count : int
        At least 1. More than the cores this process may use is allowed and rarely useful.

    Raises
    ------
    ArgumentError
        If ``count`` is no number of threads.

    Notes
    -----
    The threads are OpenMP's. With an ``OMP_STACKSIZE`` below 32 KB their stacks are too small for the kernels, and the
    process crashes; the largest kernel takes 21 KB.
    """
    from .backends.cpu import threads  # compiled code is loaded only when it is needed

    threads.set_count(count)


def get_num_threads() -> int:
    """The number of threads the next operation of the cpu backend may use.

    What :func:`set_num_threads` set, else ``PYCONV_NUM_THREADS``, else ``OMP_NUM_THREADS`` (but no more than the cores
    this process may use), else those cores. Never more than a ``threadpoolctl`` limit; OpenMP keeps limits for each
    thread, so one that was set in another thread is not seen.
    """
    from .backends.cpu import threads

    return threads.count()
