# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the devstamp authors
"""Looks for secrets where none may be: files, command lines, environments, memory of processes. Only root may look into
processes that are kept from being traced."""

import base64
import mmap
import os
import pathlib
import re

# A mapping larger than this is the shadow of a sanitizer, which holds states of bytes and never bytes.
SHADOW = 16 << 30


def can_read_memory():
    """May this process read the memory of any other, traced or not?"""
    try:
        caps = re.search(r"^CapEff:\s*(\w+)", pathlib.Path("/proc/self/status").read_text(), re.M)
        return bool(int(caps[1], 16) >> 19 & 1) and os.path.exists("/proc/self/pagemap")  # CAP_SYS_PTRACE
    except OSError:
        return False


def forms(secret):
    """The ways a secret may have been written down; the end of base64 depends on what follows."""
    code = base64.b64encode(secret)
    return [secret, secret.hex().encode(), secret.hex().upper().encode(), code[:len(secret) // 3 * 4],
            secret.decode("latin-1").encode("utf-16-le")]


def found_in(data, secrets):
    """Names of those secrets that are in data; secrets: {name: bytes}."""
    return {name for name, secret in secrets.items() if any(form in data for form in forms(secret))}


def files_with(folders, secrets, planted=()):
    """{(file, name of the secret)} over all files below the folders, but those the secrets were given in."""
    out = set()
    for folder in folders:
        for path in pathlib.Path(folder).rglob("*"):
            if path.is_file() and not path.is_symlink() and path not in planted:
                out |= {(path, name) for name in found_in(path.read_bytes() + os.fsencode(path.name), secrets)}
    return out


def processes():
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def of_process(pid, what):
    """cmdline or environ; nothing where the process is gone."""
    try:
        return pathlib.Path(f"/proc/{pid}/{what}").read_bytes()
    except OSError:
        return b""


def tree(pid):
    """The process and all that descend from it."""
    parents = {}
    for p in processes():
        stat = of_process(p, "stat")
        if stat:
            parents.setdefault(int(stat.rpartition(b")")[2].split()[1]), []).append(p)
    out, at = [pid], 0
    while at < len(out):
        out += parents.get(out[at], [])
        at += 1
    return out


def present(pagemap, start, end):
    """Ranges of the mapping that are in memory or swapped out."""
    pagemap.seek(start // mmap.PAGESIZE * 8)
    entries = pagemap.read((end - start) // mmap.PAGESIZE * 8)
    begin = None
    for i in range(0, len(entries), 8):
        here = entries[i + 7] & 0xc0
        if here and begin is None:
            begin = start + i // 8 * mmap.PAGESIZE
        elif not here and begin is not None:
            yield begin, start + i // 8 * mmap.PAGESIZE
            begin = None
    if begin is not None:
        yield begin, end


def mappings(pid):
    """(start, end) of what the process has in memory and can have written: not unchanged files, not the kernel's pages."""
    span, written, used = None, False, False
    for line in pathlib.Path(f"/proc/{pid}/smaps").read_text().splitlines():
        words = line.split()
        if not words[0].endswith(":"):
            span = tuple(int(x, 16) for x in words[0].split("-"))
            written = ("w" in words[1] or words[4] == "0") and not words[-1].startswith("[v") and span[1] - span[0] < SHADOW
            used = False
        elif words[0] in ("Rss:", "Swap:") and words[1] != "0" and written and not used:
            used = True
            yield span


def memory(pid):
    """All that the process can have written; b"" where it is gone."""
    out = []
    try:
        with open(f"/proc/{pid}/mem", "rb", 0) as mem, open(f"/proc/{pid}/pagemap", "rb", 0) as pagemap:
            for start, end in mappings(pid):
                for begin, stop in present(pagemap, start, end):
                    out.append(read_range(mem, begin, stop))
    except (FileNotFoundError, ProcessLookupError):
        return b""
    return b"".join(out)


def read_range(mem, begin, stop):
    """What can be read; a page that cannot (a guard, a device) is left out."""
    out = []
    while begin < stop:
        try:
            mem.seek(begin)
            part = mem.read(stop - begin)
        except OSError:
            part = b""
        if not part:
            part, begin = b"", begin + mmap.PAGESIZE
        out.append(part)
        begin += len(part)
    return b"".join(out)
