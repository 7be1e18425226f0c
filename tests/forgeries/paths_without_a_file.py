"""A path that leads to no file of bytes: a reader must neither wait for it nor take it for an empty certificate."""

import os

REASON = "."


def at(make):
    return lambda true: make


def loop(path) -> None:
    path.symlink_to(path)


FORGERIES = {
    "a directory": at(lambda path: path.mkdir()),
    "a pipe that nobody writes to": at(os.mkfifo),
    "a device without end": at(lambda path: path.symlink_to("/dev/zero")),
    "an empty device": at(lambda path: path.symlink_to(os.devnull)),
    "a link to itself": at(loop),
    "nothing": at(lambda path: None),
}
