"""What has to be known of a file that a database lives in: the file system under it, and an old fault of SQLite's."""

from __future__ import annotations

from pathlib import Path

#: Types of file systems on which another machine may write, and locks are hearsay.
NETWORK = ("nfs", "cifs", "smb", "9p", "afs", "ceph", "glusterfs", "lustre", "fuse.sshfs", "fuse.s3fs", "fuse.rclone")
#: SQLite releases in which the write-ahead log cannot lose commits when it is reset (sqlite.org/wal.html#walresetbug).
_WAL_FIXED = ((3, 44, 6), (3, 50, 7), (3, 51, 3))
_MOUNTS = Path("/proc/self/mounts")


def wal_is_safe(version: tuple[int, ...]) -> bool:
    """Is this a release of SQLite whose write-ahead log cannot lose commits?"""
    return version >= _WAL_FIXED[-1] or any(version[:2] == fixed[:2] and version >= fixed for fixed in _WAL_FIXED)


def file_system(path: Path, mounts: Path = _MOUNTS) -> str:
    """Type of the file system that holds `path`: `ext4`, `nfs4`; empty where this system does not tell."""
    try:
        lines = mounts.read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    place = path.resolve()
    best, kind = -1, ""
    for line in lines:
        _, mounted, of, *_ = line.split(" ")
        on = Path(mounted.encode().decode("unicode_escape"))  # a blank is written as \040
        if (place == on or on in place.parents) and len(on.parts) >= best:  # of two on one place the later is seen
            best, kind = len(on.parts), of
    return kind


def on_network(kind: str) -> bool:
    """Is a file system of this type shared with other machines?"""
    return kind.startswith(NETWORK)
