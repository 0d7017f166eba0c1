"""``python -m pyconv features``: a convolution, an activation and max pooling over images, one .npy for each."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from .. import Sequential, set_num_threads, use_backend
from ..errors import PyconvError
from . import CommandError, need
from .files import Job, find_jobs, write_whole
from .images import ImageError, read_rgb
from .kernels import Kernels, kernels_from
from .network import ACTIVATIONS, as_input, build, layer_table, run_stages
from .record import Record, stamp

__all__ = ["add_arguments", "run"]

_MANY_ON_TERMINAL, _MANY_IN_LOG = 2, 50  # from so many images on there is a progress bar
_EYE = (186, 221)  # row and column in the sample photograph


def _at_least_one(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is less than 1")
    return number


_at_least_one.__name__ = "whole number"  # argparse puts it in its message


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``features``."""
    parser.add_argument(
        "paths",
        nargs="*",
        metavar="PATH",
        help="images, and folders to be searched for them; without any: the "
        "photograph that matplotlib ships, made into features.npy and features.png",
    )
    parser.add_argument("--out", default=".", metavar="DIR", help="where the results go (default: here)")
    parser.add_argument(
        "--kernels",
        default="edges",
        metavar="KERNELS",
        help="edges (default), blur, random:SEED, or a FILE.npz with "
        "weight (K, 3, height, width) or (K, height, width), which is applied to the brightness, and if wanted bias "
        "(K,) and names (K,)",
    )
    parser.add_argument(
        "--activation",
        default="relu",
        choices=(*ACTIVATIONS, "none"),
        metavar="NAME",
        help="none, or the function's name of an elementwise activation that needs no number: relu (default), gelu, "
        "sigmoid, silu ...",
    )
    parser.add_argument("--pool", type=_at_least_one, default=2, metavar="N", help="N by N max pooling (default: 2)")
    parser.add_argument("--picture", action="store_true", help="also write a picture of every stage for each image")
    parser.add_argument("--resume", action="store_true", help="skip images that were done before with these settings")
    parser.add_argument("--backend", metavar="NAME", help="cpu, reference, ..., or a comma list")
    parser.add_argument("--threads", type=_at_least_one, metavar="N", help="threads of the cpu backend")


def run(arguments: argparse.Namespace) -> int:
    """Do it; 0 if all went well, 1 if an image failed. Raises CommandError or PyconvError if nothing can start."""
    need("PIL.Image", "reading images")
    if arguments.picture or not arguments.paths:
        need("matplotlib", "drawing the picture")
    kernels = kernels_from(arguments.kernels)
    if arguments.threads is not None:
        try:
            set_num_threads(arguments.threads)
        except ImportError as error:
            raise CommandError(f"--threads {arguments.threads}: the cpu backend is not there ({error})") from None
    with use_backend(arguments.backend):
        net = build(kernels.layer(), arguments.activation, arguments.pool)
        net[:-1](np.zeros(kernels.weight.shape[1:], np.float32))  # a backend that cannot run says so before any image
        if not arguments.paths:
            return _demonstrate(arguments, kernels, net)
        return _Batch(arguments, kernels, net).run()


def _sample_photograph() -> Path:
    cbook: ModuleType = need("matplotlib.cbook", "finding the sample photograph")
    try:
        return Path(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False))
    except FileNotFoundError:
        raise CommandError("this matplotlib comes without its sample photograph: give an image as PATH") from None


def _folder(text: str) -> Path:
    """The output folder, which is there after this."""
    folder = Path(text)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CommandError(f"--out {text}: {error.strerror or error}") from None
    return folder


def _demonstrate(arguments: argparse.Namespace, kernels: Kernels, net: Sequential) -> int:
    if arguments.resume:
        raise CommandError("--resume: give the images as PATH, there is nothing to resume without them")
    photograph = _sample_photograph()
    folder = _folder(arguments.out)
    image = read_rgb(photograph)
    stages = run_stages(net, as_input(image))
    features, picture = folder / "features.npy", folder / "features.png"
    try:
        write_whole(features, lambda file: np.save(file, stages[-1].output))
        _draw(picture, image, photograph.name, kernels, stages, _EYE)
    except OSError as error:
        print(f"pyconv: {error.filename or folder}: {error.strerror or error}", file=sys.stderr)
        return 1
    print(layer_table(stages))
    print(f"{photograph.name}: wrote {features} and {picture}")
    return 0


def _draw(path: Path, *what: Any) -> None:
    from .picture import draw  # matplotlib, only for those who want pictures

    write_whole(path, lambda file: draw(file, *what))


class _Batch:
    """One run over the user's images."""

    def __init__(self, arguments: argparse.Namespace, kernels: Kernels, net: Sequential) -> None:
        self.arguments = arguments
        self.kernels = kernels
        self.net = net
        self.jobs = find_jobs(arguments.paths)
        self.folder = _folder(arguments.out)
        settings = {"kernels": kernels.digest(), "activation": arguments.activation, "pool": arguments.pool}
        try:
            self.record = Record(self.folder, settings)
        except OSError as error:
            raise CommandError(f"--out {arguments.out}: {error}") from None
        self._keep_images_safe()
        self.written = self.skipped = self.failed = 0

    def outputs(self, job: Job) -> list[Path]:
        return [job.features, job.picture] if self.arguments.picture else [job.features]

    def _keep_images_safe(self) -> None:
        images = {job.image.resolve() for job in self.jobs}
        for job in self.jobs:
            for output in self.outputs(job):
                if (self.folder / output).resolve() in images:
                    raise CommandError(
                        f"{self.folder / output} is one of the images, it would be overwritten; use another --out"
                    )

    def run(self) -> int:
        try:
            with _progress(self.jobs) as (jobs, say):
                for job in jobs:
                    self._one(job, say)
        finally:
            left = len(self.jobs) - self.written - self.skipped - self.failed
            rest = f", {left} left (--resume goes on from here)" if left else ""
            print(f"{self.written} written to {self.folder}, {self.skipped} done before, {self.failed} failed{rest}")
        return 1 if self.failed else 0

    def _one(self, job: Job, say: Callable[..., None]) -> None:
        outputs = self.outputs(job)
        if self.arguments.resume and self.record.is_done(job, outputs):
            self.skipped += 1
            return
        try:
            seen = stamp(job.image)
            image = read_rgb(job.image)
            table = self._make(job, image)
            self.record.add(job, seen, outputs)
        except (ImageError, PyconvError, OSError, MemoryError) as error:
            self.failed += 1
            say(f"{job.shown}: {error or type(error).__name__}", sys.stderr)
            return
        self.written += 1
        if table:
            say(f"{table}\n(on {job.shown})", sys.stdout)

    def _make(self, job: Job, image: np.ndarray) -> str | None:
        """Write what is made of one image; the table of layers if it is the first."""
        x = as_input(image)
        first = self.written == 0
        if not (first or self.arguments.picture):
            features = self.net(x)
            write_whole(self.folder / job.features, lambda file: np.save(file, features))
            return None
        stages = run_stages(self.net, x)
        write_whole(self.folder / job.features, lambda file: np.save(file, stages[-1].output))
        if self.arguments.picture:
            _draw(self.folder / job.picture, image, job.shown, self.kernels, stages)
        return layer_table(stages) if first else None


@contextlib.contextmanager
def _progress(jobs: list[Job]) -> Iterator[tuple[Any, Callable[..., None]]]:
    """The jobs, with a progress bar if they are many, and a way to print a line beside it."""

    def say(text: str, stream: Any) -> None:
        print(text, file=stream, flush=True)

    terminal = sys.stderr.isatty()
    if len(jobs) < (_MANY_ON_TERMINAL if terminal else _MANY_IN_LOG):
        yield jobs, say
        return
    try:
        tqdm = need("tqdm", "the progress bar").tqdm
    except CommandError as error:
        print(f"pyconv: going on without: {error}", file=sys.stderr)
        yield jobs, say
        return
    # in a log every refresh is a line more: one in ten seconds will do
    with tqdm(jobs, unit="image", file=sys.stderr, mininterval=0.1 if terminal else 10) as bar:
        yield bar, lambda text, stream: bar.write(text, file=stream)
