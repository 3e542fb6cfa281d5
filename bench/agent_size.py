# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the devstamp authors
"""What the agent costs on a microcontroller, at -Os: code and static RAM from the linker's map, worst-case stack from the
compiler's call graph, heap from a run on the emulated board. Fails where a limit is exceeded.

Code counts what is in flash: instructions, constants and initial values. The stack figure adds up the frames of the
agent's own functions (and of protobuf-c, which the agent cannot do without) along the deepest path, mbedTLS and the port
counted as nothing; calls back from mbedTLS into the agent's random numbers are on the path. A limit holds for the agent
core with its message tables; what protobuf-c's runtime adds is told beside it, and for the stack it is within the limit."""

import argparse
import pathlib
import re
import subprocess
import sys
import tempfile

TOP = pathlib.Path(__file__).parents[1]
sys.path.insert(0, str(TOP / "tests/e2e"))

from agentlib import Agent, field, fields  # noqa: E402
from boardlib import Board  # noqa: E402

LIMITS = {"code": 24 * 1024, "ram": 2 * 1024, "stack": 6 * 1024}
TARGETS = {"virt": ("riscv32 (rv32imac)", "devstamp-mfg"), "m3": ("Cortex-M3", "devstamp-template")}
PARTS = {  # in the order of printing: name, archives
    "agent core": ["libagent_core.a"],
    "message tables (stamp.proto)": ["libproto.a"],
    "protobuf-c runtime": ["libprotobuf_c.a"],
    "NOR store": ["libagent_nor.a"],
    "port and main": ["libagent_virt.a", "libagent_template.a", "CMakeFiles"],
    "mbedTLS": ["libmbedtls.a"],
    "C library": [""],
}
CODE, RAM = (".text", ".rodata", ".srodata", ".data", ".sdata"), (".data", ".sdata", ".bss", ".sbss", "COMMON")


def sizes(target):
    """{part: (code, ram)} from the map: one line or two an input section."""
    text = (TOP / "build/cross" / target / f"{TARGETS[target][1]}.map").read_text()
    text = text.split("Linker script and memory map", 1)[1]
    out = {name: [0, 0] for name in PARTS}
    for m in re.finditer(r"^ (\.?[\w.$-]+)\s+0x([0-9a-f]+)\s+0x([0-9a-f]+) (\S.*)$", text, re.M):
        section, at, size, source = m[1], int(m[2], 16), int(m[3], 16), m[4]
        if at == 0 or section.startswith((".debug", ".comment", ".riscv", ".ARM.attributes", ".stack")):
            continue
        part = next(n for n, archives in PARTS.items() if any(a in source for a in archives))
        out[part][0] += size * section.startswith(CODE)
        out[part][1] += size * section.startswith(RAM)
    return out


# --- stack

# Whom a call through a pointer can reach, by the caller, or by what the compiler may have put the caller into. All others
# in the agent call the port, which counts as nothing; what is named here must be on a path, or the table is out of date.
HANDLERS = re.compile(r"ds_handle_\w+$|select_boot$|reboot$")
INDIRECT = [
    (re.compile(r"dispatch$|decode_and_dispatch$|answer$|ds_agent_poll$|ds_agent_run$"), HANDLERS),
    (re.compile(r"ds_store_same$|ds_store_put$"), re.compile(r"compare_one$")),
    (re.compile(r"ds_store_next$|digest_area$"), re.compile(r"next_one$")),
    (re.compile(r"protobuf_c_\w*pack_to_buffer$|\w+_pack_to_buffer$"), re.compile(r"append$|append_evidence$")),
    (re.compile(r"do_alloc$"), re.compile(r"arena_alloc$")),
    (re.compile(r"do_free$"), re.compile(r"arena_free$")),
]
DRAWS = re.compile(r"mbedtls_(rsa_gen_key|ecp_gen_key|pk_sign|pk_parse_key|x509write_csr_der)$")
NESTING = 2  # of messages in stamp.proto: how often protobuf-c can be in itself


def graph(target):
    """{function: (bytes, {callees})} of agent core, message tables and protobuf-c."""
    nodes, edges = {}, {}
    for lib in ("agent_core", "proto", "protobuf_c"):
        for ci in (TOP / "build/cross" / target / f"CMakeFiles/{lib}.dir").rglob("*.ci"):
            for line in ci.read_text().splitlines():
                if m := re.match(r'node: { title: "([^"]+)" label: "[^"]*\\n(\d+) bytes \((\w+)[^)]*\)', line):
                    assert m[3] == "static", f"{m[1]}: its stack use is not known: {m[3]}"
                    nodes[m[1]] = int(m[2])
                elif m := re.match(r'edge: { sourcename: "([^"]+)" targetname: "([^"]+)"', line):
                    edges.setdefault(m[1], set()).add(m[2])
    for source, targets in edges.items():
        if any(DRAWS.match(t) for t in targets):
            targets.add("ds_rng_draw")
        if "__indirect_call" in targets:
            targets.remove("__indirect_call")
            for callers, callees in INDIRECT:
                if callers.match(short(source)):
                    targets.update(n for n in nodes if callees.match(short(n)))
    return {n: (size, {t for t in edges.get(n, ()) if t in nodes}) for n, size in nodes.items()}


def short(name):
    return re.sub(r"\.(constprop|isra|part)\.\d+", "", name.rsplit(":", 1)[-1])


def check_table(g, start):
    reached, todo = {start}, [start]
    while todo:
        for c in g[todo.pop()][1] - reached:
            reached.add(c)
            todo.append(c)
    for _, callees in INDIRECT:
        missing = [short(n) for n in g if callees.match(short(n)) and n not in reached]
        assert not missing, f"nothing seems to call {missing}: INDIRECT is out of date"
        assert any(callees.match(short(n)) for n in reached), f"{callees.pattern}: not in the call graph"


def deepest(g, start):
    """(bytes, path) of the deepest chain of calls from start; a function is on it NESTING times at most."""
    def walk(name, on_path):
        size, callees = g[name]
        best = (0, [])
        for c in callees:
            if on_path.count(c) < (NESTING if c in recursive else 1):
                best = max(best, walk(c, on_path + [c]), key=lambda b: b[0])
        return size + best[0], [name] + best[1]

    recursive = {n for n in g if "protobuf" in n}
    return walk(start, [start])


# --- heap

class Tap:
    """A socket that remembers what came, log text between the frames included."""

    def __init__(self, inner):
        self.inner, self.seen = inner, b""

    def recv(self, n):
        data = self.inner.recv(n)
        self.seen += data
        return data

    def __getattr__(self, name):
        return getattr(self.inner, name)


KEYS = {"ecdsa-p256": 3, "ecdsa-p384": 4, "rsa-2048": 1, "rsa-3072": 2}


def openssl(*args):
    subprocess.run(["openssl", *map(str, args)], check=True, capture_output=True)


def heap(key, folder):
    """Peaks of heap and stack on the board over key, request, certificate chain and report; the chain's CA is P-384."""
    board = Board(folder)
    board.start(stats=True)
    ca, ca_key, der, leaf = (folder / n for n in ("ca.pem", "ca.key", "csr.der", "leaf.der"))
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384", "-nodes", "-keyout", ca_key, "-out", ca,
            "-subj", "/CN=bench", "-days", "2")
    openssl("x509", "-in", ca, "-outform", "DER", "-out", folder / "ca.der")
    with Agent(board.port) as agent:
        agent.socket = Tap(agent.socket)
        for request, body in ((3, field(1, KEYS[key])), (4, field(1, b"CN=bench,O=Example"))):
            status, answer = agent.call(request, body, timeout=1800)
            assert status == 0, hex(status)
        der.write_bytes(fields(answer)[1])
        openssl("x509", "-req", "-inform", "DER", "-in", der, "-CA", ca, "-CAkey", ca_key, "-CAcreateserial", "-outform",
                "DER", "-out", leaf, "-days", "2")
        chain = field(1, leaf.read_bytes()) + field(1, (folder / "ca.der").read_bytes())
        for request, body in ((5, chain), (14, field(1, bytes(32))), (2, b"")):
            status, _ = agent.call(request, body, timeout=60)
            assert status == 0, hex(status)
        found = re.findall(rb"peak heap (\d+) bytes in (\d+) blocks, stack (\d+)", agent.socket.seen)
    board.close()
    return max(int(f[0]) for f in found), max(int(f[1]) for f in found), max(int(f[2]) for f in found)


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--no-heap", action="store_true", help="leave the run on the emulated board out")
    p.add_argument("--top", type=int, default=10, help="so many functions in the table of frames")
    options = p.parse_args()
    bad = []

    def limit(what, value, most):
        if value > most:
            bad.append(f"{what}: {value} bytes, the limit is {most}")
        return f"{value:6} of {most}"

    for target, (title, _) in TARGETS.items():
        subprocess.run([TOP / "script/cross", target], check=True)
        print(f"== {title}, gcc -Os\n{'':30} {'code':>7} {'static RAM':>11}")
        parts = sizes(target)
        for name, (code, ram) in parts.items():
            print(f"{name:30} {code:7} {ram:11}")
        core = [parts["agent core"][i] + parts["message tables (stamp.proto)"][i] for i in (0, 1)]
        both = [core[i] + parts["protobuf-c runtime"][i] for i in (0, 1)]
        print(f"agent core: code {limit(title + ' code', core[0], LIMITS['code'])}, static RAM "
              f"{limit(title + ' static RAM', core[1], LIMITS['ram'])}; with protobuf-c code {both[0]}, static RAM {both[1]}"
              f"; the caller gives it two buffers of 8208 bytes")
        g = graph(target)
        check_table(g, "ds_agent_run")
        size, path = deepest(g, "ds_agent_run")
        print(f"stack, worst case: {limit(title + ' stack', size, LIMITS['stack'])}: "
              + " > ".join(f"{short(n)} {g[n][0]}" for n in path))
        print("largest frames: " + ", ".join(f"{short(n)} {s}" for n, (s, _) in
                                             sorted(g.items(), key=lambda kv: -kv[1][0])[:options.top]))
        print(flush=True)
    if not options.no_heap:
        print("== on the emulated riscv32 board, over key, request, chain and report\n"
              f"{'key':12} {'heap':>7} {'blocks':>7} {'with headers':>13} {'stack, all of it':>17}", flush=True)
        for key in KEYS:
            with tempfile.TemporaryDirectory(prefix="devstamp-bench-") as folder:
                size, blocks, stack = heap(key, pathlib.Path(folder))
            print(f"{key:12} {size:7} {blocks:7} {size + 32 * blocks:13} {stack:17}", flush=True)
    for b in bad:
        print(f"bench/agent_size.py: {b}", file=sys.stderr)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
