# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the devstamp authors
"""examples/ci: the very steps of both pipelines, with a fake idf.py, gh and curl, and keys in SoftHSM2."""

import os
import pathlib
import re
import shutil
import subprocess

import pytest
import yaml

import test_ca_token
from bundlelib import Bundle
from factory import DEVSTAMP, run
from signerlib import MODULE
from test_release_signing import make, uri

pytestmark = test_ca_token.pytestmark
shim, token = test_ca_token.shim, test_ca_token.token  # fixtures

CI = pathlib.Path(__file__).parents[2] / "examples/ci"
GITHUB, GITLAB = (yaml.safe_load((CI / f).read_text()) for f in ("github.yml", "gitlab-ci.yml"))
IDF = """#!/bin/sh
[ "$1" = -C ] && [ "$3" = build ] || exit 0
kind=app; case $2 in */mfg) kind=mfg ;; esac
mkdir -p "$2/build/bootloader" "$2/build/partition_table"
cp "$FAKE/$kind-bootloader.bin" "$2/build/bootloader/bootloader.bin"
cp "$FAKE/$kind.bin" "$2/build/$([ $kind = mfg ] && echo devstamp_mfg || echo lamp).bin"
cp "$FAKE/partitions.bin" "$2/build/partition_table/partition-table.bin"
"""


class Repository:
    """A product's repository as examples/ci/README.md wants it, and the programs that its pipelines meet."""

    def __init__(self, products, token, folder):
        self.folder, self.token, self.fake = folder / "repository", token, folder / "fake"
        for d in (self.folder / "app", self.folder / "devstamp/firmware/mfg", self.fake):
            d.mkdir(parents=True)
        shutil.copytree(CI, self.folder / "ci")
        for name, image in (("app-bootloader", products.image("esp32c3", "secure-bootloader")),
                            ("mfg-bootloader", products.image("esp32c3", "bootloader")),
                            ("mfg", products.image("esp32c3", "mfg", "1.2.0")),
                            ("app", products.image("esp32c3", "app", "2.0.0", **{"secure-pad": True})),
                            ("partitions", products.folder / "partitions.bin")):
            shutil.copy(image, self.fake / f"{name}.bin")
        recipe = products.recipe(self.folder / "ci", "esp32c3", "lamp", table="../out/partitions.bin",
                                 bootloader="../out/bootloader.bin", secure="../out/secure-bootloader.signed.bin",
                                 mfg="../out/mfg.bin", app="../out/app.signed.bin")
        assert recipe.name == "lamp.yaml"
        make(token, "boot", "rsa:3072")
        make(token, "release", "EC:prime256v1")
        public = token.run("pkcs11-tool", "--module", MODULE, "--token-label", "line", "--read-object", "--type", "pubkey",
                           "--label", "release", "--output-file", str(folder / "release.der"))
        assert public.returncode == 0
        run("openssl", "pkey", "-pubin", "-inform", "DER", "-in", folder / "release.der", "-out", self.folder / "ci/release.pub")
        (self.fake / "idf.py").write_text(IDF)
        for name in ("gh", "curl"):
            (self.fake / name).write_text(f'#!/bin/sh\necho {name} "$@" >>"$FAKE/calls"\ncat >>"$FAKE/stdin"\n')
        for name in ("idf.py", "gh", "curl"):
            (self.fake / name).chmod(0o755)
        (self.fake / "export.sh").write_text("")
        (self.fake / "devstamp").symlink_to(DEVSTAMP)
        self.git("init", "-q", "-b", "main")
        self.git("add", "ci")
        self.git("-c", "user.name=a", "-c", "user.email=a@example", "commit", "-qm", "first")
        self.vars = {"BOOT_KEY": uri("boot"), "RELEASE_KEY": uri("release"), "MODULE": token.shim,
                     "TOKEN": f"--pin-file {token.pin}"}
        self.env = dict(token.env, PATH=f"{self.fake}:{os.environ['PATH']}", FAKE=str(self.fake), IDF_PATH=str(self.fake),
                        HOME=str(folder), GITHUB_REF_NAME="release-7", CI_COMMIT_TAG="release-7", CI_JOB_TOKEN="canary",
                        CI_API_V4_URL="https://git.example/api/v4", CI_PROJECT_ID="1")

    def git(self, *args):
        return run("git", "-C", self.folder, *args).stdout

    def shell(self, script, env, ok=True):
        p = subprocess.run(["bash", "-e", "-c", script], cwd=self.folder, env=dict(self.env, **env), capture_output=True,
                           text=True, timeout=240)
        assert (p.returncode == 0) == ok, p.stdout + p.stderr
        return p.stdout

    def expand(self, env):
        return {k: re.sub(r"\$\{\{ vars\.(\w+) \}\}", lambda m: str(self.vars[m[1]]), str(v)) for k, v in env.items()}

    def github(self, job, ok=True):
        env = self.expand(dict(GITHUB["env"], **GITHUB["jobs"][job].get("env", {})))
        steps = [s["run"] for s in GITHUB["jobs"][job]["steps"] if "run" in s]
        outs = [self.shell(s, env, ok or i + 1 < len(steps)) for i, s in enumerate(steps)]
        return "".join(outs)

    def gitlab(self, job, ok=True):
        env = dict(GITLAB["variables"], **GITLAB[job].get("variables", {}))
        if job == "sign":
            env.update(self.expand({k: f"${{{{ vars.{k} }}}}" for k in self.vars}))
        return self.shell("\n".join(GITLAB[job]["script"]), env, ok)

    def bundle(self):
        path = self.folder / "out/release.bundle"
        run(DEVSTAMP, "bundle", "verify", "--release-key", self.folder / "ci/release.pub", path)
        return Bundle(path.read_bytes())

    def answer(self, name):
        """What somebody does on the machine apart."""
        verb = "bundle" if name == "release" else "image"
        (self.folder / "answers").mkdir(exist_ok=True)
        looked = ()
        if verb == "bundle":
            out = run(DEVSTAMP, "bundle", "show", self.folder / "out/orders/release.bundle").stdout
            assert "What devices become:" in out
            looked = ("--digest", re.search(r"^bundle ([0-9a-f]{64})$", out, re.M)[1])
        run(DEVSTAMP, verb, "sign-order", *looked, "--key", uri("release" if name == "release" else "boot"), "--module",
            self.token.shim, "--pin-file", self.token.pin, self.folder / f"out/orders/{name}.order", "-o",
            self.folder / f"answers/{name}.signature", env=self.token.env)


@pytest.fixture
def repository(products, token, tmp_path):
    return Repository(products, token, tmp_path)


@pytest.mark.parametrize("host", ["github", "gitlab"])
def test_pipeline_with_keys_behind_a_module(repository, host):
    job = getattr(repository, host)
    job("build")
    assert "BURNED FOR EVER" in job("sign")
    b = repository.bundle()
    assert b.manifest["release"] == 7 and b.manifest["product"] == "demo-esp32c3" and len(b.signatures) == 1
    job("publish")
    calls = (repository.fake / "calls").read_text()
    assert "release.bundle" in calls and "SHA256SUMS" in calls
    assert "canary" not in calls  # what other users of a machine can see
    if host == "gitlab":
        assert "JOB-TOKEN: canary" in (repository.fake / "stdin").read_text()


@pytest.mark.parametrize("host", ["github", "gitlab"])
def test_pipeline_with_keys_on_a_machine_apart(repository, host):
    job = getattr(repository, host)
    job("build")
    if host == "gitlab":  # the answers come by a branch of the repository's own
        repository.git("remote", "add", "origin", ".")

    def answers(*names):
        for name in names:
            repository.answer(name)
        if host == "gitlab":
            where = repository.folder / "answers"
            shutil.copytree(where, repository.fake / "came", dirs_exist_ok=True)
            shutil.rmtree(where)
            repository.git("--work-tree", repository.fake / "came", "--git-dir", repository.folder / ".git", "add", "-A", "-f", ".")
            tree = repository.git("write-tree").strip()
            repository.git("read-tree", "HEAD")
            commit = repository.git("-c", "user.name=a", "-c", "user.email=a@example", "commit-tree", tree, "-m", "x").strip()
            repository.git("update-ref", "refs/heads/answers/release-7", commit)

    orders = repository.folder / "out/orders"
    job("offline", ok=False)
    assert sorted(p.name for p in orders.iterdir()) == ["app.order", "secure-bootloader.order"]
    answers("app", "secure-bootloader")
    job("offline", ok=False)
    assert sorted(p.name for p in orders.iterdir()) == ["release.bundle", "release.order"]
    assert not (repository.folder / "out/release.bundle").exists()
    if host == "gitlab":
        shutil.rmtree(repository.folder / "answers")
    answers("release")
    assert "complete" in job("offline")
    assert [role for role, _, _ in repository.bundle().signatures] == [1]


def test_no_pipeline_holds_a_secret():
    """Keys are named as variables, in the job of the protected environment alone."""
    for text in (CI / "github.yml", CI / "gitlab-ci.yml"):
        assert "secrets." not in text.read_text() and "BEGIN" not in text.read_text()
    for name, job in GITHUB["jobs"].items():
        asks = job.get("permissions", {}).get("id-token")
        assert (asks == "write") == (name == "sign") and ("environment" in job) == (name == "sign")
    assert [n for n, j in GITLAB.items() if isinstance(j, dict) and "id_tokens" in j] == ["sign"]
    assert GITLAB["sign"]["environment"] == "release"
