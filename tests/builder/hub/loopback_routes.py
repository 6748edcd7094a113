"""The loopback Hub's answers, a method a route; what the Hub would not take is noted as a problem."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import secrets
from typing import Any
from urllib.parse import parse_qs

import yaml

from .loopback_connection import Connection
from .loopback_state import PREFIXES, Entry, Refusal, Repo, git_hash

PIECE = 1 << 20
LICENSES = ("apache-2.0", "mit", "cc-by-4.0", "cc-by-nc-4.0", "other")  # some of the Hub's
MAX_PREUPLOAD = 256  # files a question, as the client has it
MAX_COMMIT = 100  # files a commit, as the Hub's documentation advises
PAGE = 4  # entries a page of a tree, so that every listing has several
LFS_NAMES = (".parquet", ".safetensors", ".flac", ".wav", ".bin", ".png")
LFS_BYTES = 10 << 20


class Routes(Connection):
    """What each route does."""

    def on_whoami(self) -> Any:
        assert self.user is not None
        auth = {"type": "access_token", "accessToken": {"displayName": "test", "role": self.user["role"]}}
        orgs = [{"type": "org", "name": org, "roleInOrg": "write"} for org in self.user["orgs"]]
        return {"type": "user", "name": self.user["name"], "orgs": orgs, "auth": auth}

    def on_create(self) -> Any:
        asked = self._json()
        kind, space = asked.get("type") or "model", asked.get("organization") or self.user["name"]  # type: ignore[index]
        id = f"{space}/{asked['name']}"
        url = f"{self.hub.endpoint}/{PREFIXES[kind]}{id}"
        if not self._may_write(space):
            raise Refusal(403, f"You don't have the rights to create a {kind} under the namespace {space!r}")
        if (kind == "space") != (asked.get("sdk") in ("gradio", "static", "docker")):
            raise Refusal(400, f"sdk: {asked.get('sdk')!r} for a {kind}")
        if (kind, id) in self.hub.repos:
            raise Refusal(409, f"You already created this {kind} repo", url=url)
        self.hub.add_repo(kind, id, private=asked.get("visibility") == "private").sdk = asked.get("sdk")
        return {"url": url, "name": id}

    def on_validate(self) -> Any:
        asked = self._json()
        head = re.match(r"---\n(.*?)\n---\n", asked["content"], re.DOTALL)
        if asked["repoType"] not in PREFIXES or head is None:
            raise Refusal(400, "Invalid metadata", errors=[{"message": "no YAML"}], warnings=[])
        data = yaml.safe_load(head[1])
        errors = [] if "license" in data else [{"message": '"license" is required'}]
        if data.get("license") not in (None, *LICENSES):
            errors.append({"message": f'"license" must be one of [{", ".join(LICENSES)}]'})
        if errors:
            raise Refusal(400, "Invalid metadata", errors=errors, warnings=[])
        return {"errors": [], "warnings": []}

    def on_preupload(self) -> Any:
        repo = self._repo(write=True)
        tree = repo.commits[self._commit_of(repo)]
        files = self._json()["files"]
        if len(files) > MAX_PREUPLOAD:
            self.hub.problem(f"preupload of {len(files)} files")
        replies = []
        for file in files:
            path, size, sample = file["path"], file["size"], base64.b64decode(file["sample"])
            self.hub.handled[f"preupload {path}"] += 1
            self._check_path(path)
            if len(sample) != min(512, size):
                self.hub.problem(f"preupload {path}: a sample of {len(sample)} bytes of {size}")
            mode = "lfs" if path.endswith(LFS_NAMES) or size > LFS_BYTES else "regular"
            self.hub.modes[repo.kind, repo.id, path] = mode if size else "regular"
            there = tree.get(path)
            oid = {"oid": there.sha256 or there.oid} if there else {}
            replies.append({"path": path, "uploadMode": mode, "shouldIgnore": False, **oid})
        return {"files": replies}

    def _check_path(self, path: str) -> None:
        if any(part in ("..", ".git", "") for part in path.split("/")):
            self.hub.problem(f"a bad path: {path!r}")

    def on_batch(self) -> Any:
        self._repo(write=self.query.get("create_pr") is None)
        asked = self._json("application/vnd.git-lfs+json")
        if (asked["operation"], asked["hash_algo"]) != ("upload", "sha256") or "basic" not in asked["transfers"]:
            self.hub.problem(f"batch: {asked}")
        objects = []
        for one in asked["objects"]:
            found: dict[str, Any] = {"oid": one["oid"], "size": one["size"]}
            self.hub.handled[f"batch {one['oid']}"] += 1
            if self.hub.sizes.get(one["oid"]) != one["size"]:
                href = f"{self.hub.endpoint}/lfs/{one['oid']}?size={one['size']}&X-Signature={secrets.token_hex(8)}"
                self.hub.issued.add(href)
                verify = {"href": f"{self.hub.endpoint}/lfs/verify"}
                found["actions"] = {"upload": {"href": href, "header": {}}, "verify": verify}
            objects.append(found)
        return {"transfer": "basic", "objects": objects}

    def on_put(self) -> Any:
        oid = self.parts["oid"]
        if f"{self.hub.endpoint}{self.path}" not in self.hub.issued:
            self.hub.problem(f"put to an address that was not given out: {self.path}")
        if self.left != int(self.query["size"]):
            self.hub.problem(f"put {oid}: {self.left} bytes, {self.query['size']} announced")
        size, hashed, part = self.left, hashlib.sha256(), self.hub.root / f".{oid}.{secrets.token_hex(4)}"
        self.hub.begun[oid] += 1
        with part.open("wb") as handle:
            while self.left:
                piece = self.rfile.read(min(PIECE, self.left))
                if not piece:
                    part.unlink()
                    raise ConnectionError("cut")
                self.left -= len(piece)
                hashed.update(piece)
                if self.hub.keep:
                    handle.write(piece)
        if hashed.hexdigest() != oid:
            part.unlink()
            self.hub.problem(f"put {oid}: the content's hash is {hashed.hexdigest()}")
            raise Refusal(400, "hash mismatch")
        part.rename(self.hub.root / oid)
        with self.hub.lock:
            self.hub.sizes[oid] = size
            self.hub.whole[oid] += 1
        return {}

    def on_lfs_verify(self) -> Any:
        asked = self._json()
        if self.hub.sizes.get(asked["oid"]) != asked["size"]:
            raise Refusal(404, "not stored")
        return {}

    def on_commit(self) -> Any:
        repo, rev = self._repo(write=True), self.parts["rev"]
        assert self.body is not None
        if not (self.headers.get("Content-Type") or "").startswith("application/x-ndjson"):
            self.hub.problem("commit: not NDJSON")
        header, *lines = [json.loads(line) for line in self.body.splitlines()]
        if header["key"] != "header" or not header["value"]["summary"] or any(x["key"] == "header" for x in lines):
            self.hub.problem("commit: the header does not stand first and once")
            raise Refusal(400, "no header, or two")
        if len(lines) > MAX_COMMIT:
            self.hub.problem(f"commit of {len(lines)} files")
        base = repo.refs.get(rev)
        if base is None:
            raise Refusal(404, f"Invalid rev id: {rev}", "RevisionNotFound")
        parent = header["value"].get("parentCommit")
        if parent is not None and parent != base:
            raise Refusal(412, "A commit has happened since. Please refresh and try again.")
        tree = dict(repo.commits[base])
        for line in lines:
            self._apply(repo, tree, line["key"], line["value"])
        title = header["value"]["summary"]
        if self.query.get("create_pr"):
            repo.pulls.append(title)
            rev = f"refs/pr/{len(repo.pulls)}"
        oid = repo.add(rev, tree, title)
        reply = {"success": True, "commitOid": oid, "hookOutput": ""}
        place = f"{self.hub.endpoint}/{PREFIXES[repo.kind]}{repo.id}"
        if self.query.get("create_pr"):
            reply["pullRequestUrl"] = f"{place}/discussions/{len(repo.pulls)}"
        return reply | {"commitUrl": f"{place}/commit/{oid}"}

    def _apply(self, repo: Repo, tree: dict[str, Entry], key: str, value: dict[str, Any]) -> None:
        path = value["path"]
        self._check_path(path)
        if key in ("file", "lfsFile"):
            mode = self.hub.modes.get((repo.kind, repo.id, path))
            if mode != {"file": "regular", "lfsFile": "lfs"}[key]:
                self.hub.problem(f"commit: {path} as {key}, preupload said {mode}")
        if key == "file":
            assert value["encoding"] == "base64"
            tree[path] = self.hub.store(base64.b64decode(value["content"], validate=True))
        elif key == "lfsFile":
            if self.hub.sizes.get(value["oid"]) != value["size"]:
                self.hub.problem(f"commit: {path} points to content that was never sent")
                raise Refusal(400, f"LFS pointer pointed to a file that does not exist: {path}")
            pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{value['oid']}\nsize {value['size']}\n"
            tree[path] = Entry(git_hash(pointer.encode()), value["size"], value["oid"])
        elif key == "deletedFile":
            if tree.pop(path, None) is None:
                raise Refusal(404, f"A file with this name doesn't exist: {path}", "EntryNotFound")
        else:
            self.hub.problem(f"commit: {key}")

    def on_tree(self) -> Any:
        repo = self._repo()
        oid = self._commit_of(repo)
        entries, start = self._listed(repo.commits[oid]), int(self.query.get("cursor", 0))
        if self.parts.get("path") and not entries:
            raise Refusal(404, "path not found", "EntryNotFound")
        headers = {"X-Repo-Commit": oid}
        if start + PAGE < len(entries):
            place = self.path.partition("?")[0]
            deep = self.query.get("recursive", "false")
            next_page = f"{self.hub.endpoint}{place}?recursive={deep}&cursor={start + PAGE}"
            headers["Link"] = f'<{next_page}>; rel="next"'
        return self._answer(200, entries[start : start + PAGE], headers)

    def _listed(self, tree: dict[str, Entry]) -> list[dict[str, Any]]:
        under = f"{self.parts['path']}/" if self.parts.get("path") else ""
        deep = self.query.get("recursive", "").lower() in ("true", "1")
        found: dict[str, dict[str, Any]] = {}
        for path, entry in sorted(tree.items()):
            if not path.startswith(under):
                continue
            *folders, _ = path[len(under) :].split("/")
            for depth in range(1, len(folders) + 1 if deep else min(2, len(folders) + 1)):
                name = under + "/".join(folders[:depth])
                found[name] = {
                    "type": "directory",
                    "path": name,
                    "oid": hashlib.sha1(name.encode()).hexdigest(),
                    "size": 0,
                }
            if deep or not folders:
                found[path] = entry.shown(path)
        return list(found.values())

    def on_paths(self) -> Any:
        repo = self._repo()
        tree = repo.commits[self._commit_of(repo)]
        asked = parse_qs((self.body or b"").decode()).get("paths", [])
        return [tree[path].shown(path) for path in asked if path in tree] + [
            {"type": "directory", "path": path, "oid": "0" * 40, "size": 0}
            for path in asked
            if any(name.startswith(f"{path}/") for name in tree)
        ]

    def on_xet(self) -> Any:
        raise Refusal(404, "no such storage here")

    def on_refs(self) -> Any:
        repo = self._repo()

        def shown(prefix: str, refs: dict[str, str]) -> list[dict[str, str]]:
            return [{"name": n, "ref": f"{prefix}{n}", "targetCommit": c} for n, c in refs.items() if "/" not in n]

        return {"branches": shown("refs/heads/", repo.refs), "tags": shown("refs/tags/", repo.tags), "converts": []}

    def on_tag(self) -> Any:
        repo, tag = self._repo(write=True), self._json()["tag"]
        if tag in repo.tags:
            raise Refusal(409, "Tag reference exists already")
        repo.tags[tag] = self._commit_of(repo)
        return {}

    def on_branch(self) -> Any:
        repo = self._repo(write=True)
        if self.parts["name"] in repo.refs:
            raise Refusal(409, "Reference already exists")
        repo.refs[self.parts["name"]] = repo.refs["main"]
        return {}

    def on_discussions(self) -> Any:
        repo = self._repo()
        pulls = [
            {
                "title": title,
                "num": number,
                "author": {"name": "me"},
                "createdAt": "2026-01-01T00:00:00.000Z",
                "status": "open",
                "repo": {"name": repo.id, "type": repo.kind},
                "isPullRequest": True,
            }
            for number, title in enumerate(repo.pulls, 1)
        ]
        return {"discussions": pulls, "count": len(pulls), "start": 0}

    def on_info(self) -> Any:
        repo = self._repo()
        oid = self._commit_of(repo)
        siblings = [{"rfilename": path} for path in sorted(repo.commits[oid])]
        info = {"_id": "0" * 24, "id": repo.id, "sha": oid, "private": repo.private, "tags": [], "siblings": siblings}
        return info | {"gated": False, "disabled": False, "downloads": 0, "likes": 0}

    def on_head(self) -> Any:
        return self.on_get()

    def on_get(self) -> Any:
        repo = self._repo()
        oid, path = self._commit_of(repo), self.parts["path"]
        entry = repo.commits[oid].get(path)
        headers = {"X-Repo-Commit": oid, "Accept-Ranges": "bytes", "Content-Type": "application/octet-stream"}
        if entry is None:
            error = {"X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found"}
            return self._answer(404, {"error": "Entry not found"}, headers | error)
        headers["ETag"] = f'"{entry.sha256 or entry.oid}"'
        first, last, status = 0, entry.size - 1, 200
        if (asked := self.headers.get("Range")) and self.command == "GET":
            start, end = re.fullmatch(r"bytes=(\d*)-(\d*)", asked).groups()  # type: ignore[union-attr]
            first = int(start) if start else entry.size - int(end)
            last, status = min(int(end), last) if start and end else last, 206
            headers["Content-Range"] = f"bytes {first}-{last}/{entry.size}"
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(last - first + 1))
        self.end_headers()
        if self.command == "GET":
            with (self.hub.root / (entry.sha256 or entry.oid)).open("rb") as handle:
                handle.seek(first)
                left = last - first + 1
                while left:
                    piece = handle.read(min(PIECE, left))
                    left -= len(piece)
                    self.wfile.write(piece)
                    with self.hub.lock:
                        self.hub.served[str(path)] += len(piece)
        return None
