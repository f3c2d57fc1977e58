#!/usr/bin/env python3
"""Imports go down, and name the module that defines what they import.

    scripts/check-imports.py                 # the crates of the table
    scripts/check-imports.py burn-ema-rules  # these only
    scripts/check-imports.py --self-test     # small crates with planted mistakes: each has to be found

In every file but lib.rs, a path `crate::x::..` (or `super::..`, where that leads to the same) is refused

1. if the module `x` is at the layer of the file's own module or above it, unless it is that module;
2. if what follows `crate::` is no module of the crate: an item that lib.rs has or exports again. It has to be imported
   from where it is defined.

What is compiled for tests only (`#[cfg(test)]`), comments and strings do not count. Nor does lib.rs.
"""

import re
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# The modules of each crate, lowest first. Those of one line may not import each other. A module that is not here is
# refused; a name here that is no module yet is none of this script's business.
LAYERS = {
    "burn-ema-rules": """
        error
        decay
        schedule
        profile
        merge
        presets post_hoc bema
    """,
    "burn-ema-kernels": """
        random batch
        ops host portable
        backends
        devices memory
        finite lerp
    """,
    "burn-ema": """
        error
        policy counters
        burn_facts
        walk
        plan
        store
        engine record
        model
        merge batch_norm submodule lag window
        set
        post_hoc
    """,
    "burn-ema-train": """
        metrics
        learner hook
    """,
}

# Macros with `#[macro_export]`, which are at the root wherever they are written: these may be used as `crate::name!`.
MACROS = {
    "burn-ema-rules": [],
    "burn-ema-kernels": [],
    "burn-ema": [],
    "burn-ema-train": [],
}

TOKENS = re.compile(
    r"""
      (?P<line>//[^\n]*)
    | (?P<block>/\*)
    | (?P<raw>\b(?:b|c)?r(?P<hashes>\#*)")
    | (?P<string>\b[bc]?"|")
    | (?P<char>\bb?'(?:\\(?:u\{[0-9a-fA-F_]+\}|x[0-9a-fA-F]{2}|.)|[^'\\\n])'|'(?:\\(?:u\{[0-9a-fA-F_]+\}|x[0-9a-fA-F]{2}|.)|[^'\\\n])')
    """,
    re.VERBOSE,
)
NAME = re.compile(r"(?:r\#)?([A-Za-z_]\w*)")
PATH = re.compile(r"(?<![\w:])(?:crate|super)\s*::|(?<=\$)crate\s*::")
INLINE_MODULE = re.compile(r"\bmod\s+(?:r\#)?\w+\s*\{")
DECLARATION = re.compile(r"\bmod\s+(?:r\#)?(\w+)\s*;")
TEST_ONLY = re.compile(r"#\s*\[\s*cfg\s*\(\s*test\s*\)\s*\]")


def blank(text):
    """As many characters, with the lines kept."""
    return re.sub(r"[^\n]", " ", text)


def without_comments_and_strings(text):
    """The code, every character where it was."""
    code, at = [], 0
    while match := TOKENS.search(text, at):
        code.append(text[at : match.start()])
        end = match.end()
        if match["block"]:
            depth = 1
            while depth and (edge := re.compile(r"/\*|\*/").search(text, end)):
                depth += 1 if edge.group() == "/*" else -1
                end = edge.end()
            if depth:
                end = len(text)
        elif match["raw"]:
            close = text.find('"' + match["hashes"], end)
            end = len(text) if close < 0 else close + 1 + len(match["hashes"])
        elif match["string"]:
            close = re.compile(r'(?:[^"\\]|\\.)*"', re.DOTALL).match(text, end)
            end = close.end() if close else len(text)
        code.append(blank(text[match.start() : end]))
        at = end
    code.append(text[at:])
    return "".join(code)


def closing(code, opening):
    """Where the bracket at `opening` is closed."""
    depth = 0
    for at in range(opening, len(code)):
        if code[at] in "([{":
            depth += 1
        elif code[at] in ")]}":
            depth -= 1
            if depth == 0:
                return at
    return len(code) - 1


def end_of_item(code, at):
    """After the item, field or statement that starts here, with its other attributes."""
    while at < len(code):
        if code[at] == ";" or code[at] == ",":
            return at + 1
        if code[at] == "{":
            end = closing(code, at) + 1
            # `use a::{b, c};` goes on after its braces.
            rest = re.compile(r"\s*;").match(code, end)
            return rest.end() if rest else end
        if code[at] in "([":
            at = closing(code, at)
        elif code[at] in ")]}":
            return at
        at += 1
    return at


def without_tests(code):
    """The code but for what is compiled for tests only, and the names of the files that are."""
    files = set()
    while match := TEST_ONLY.search(code):
        end = end_of_item(code, match.end())
        item = code[match.start() : end]
        files.update(DECLARATION.findall(item))
        code = code[: match.start()] + blank(item) + code[end:]
    return code, files


def module_of(file, source):
    """The path of a file's module: `a/b.rs` and `a/b/mod.rs` are `a::b`."""
    parts = file.relative_to(source).with_suffix("").parts
    return parts[:-1] if parts[-1] in ("mod", "lib") else parts


def first_names(code, at):
    """What a path or a tree of imports starts with, each with its place: `a::b` with a, `{a, b::{c, d}}` with a and b."""
    at += len(code[at:]) - len(code[at:].lstrip())
    if at < len(code) and code[at] == "{":
        end, at = closing(code, at), at + 1
        while at < end:
            yield from first_names(code, at)
            # On to the comma that is in no inner braces.
            while at < end and code[at] != ",":
                at = closing(code, at) if code[at] == "{" else at
                at += 1
            at += 1
    elif at < len(code) and code[at] == "*":
        yield "*", at
    elif match := NAME.match(code, at):
        yield match[1], at


def paths_from_root(code, module):
    """The first name of each path that leads from the crate's root, with its place."""
    inline = [(match.start(), closing(code, match.end() - 1)) for match in INLINE_MODULE.finditer(code)]
    for match in PATH.finditer(code):
        at = match.end()
        if match.group().startswith("super"):
            depth = len(module) + sum(start < match.start() < end for start, end in inline) - 1
            while more := re.compile(r"\s*super\s*::").match(code, at):
                depth, at = depth - 1, more.end()
            if depth > 0:
                continue
        yield from first_names(code, at)


def mistakes(source, layers, macros):
    """What is wrong in the sources of a crate, as (file, line, what)."""
    layer = {name: at for at, names in enumerate(layers) for name in names}
    codes, tests = {}, set()
    for file in sorted(source.rglob("*.rs")):
        code, files = without_tests(without_comments_and_strings(file.read_text(encoding="utf-8")))
        codes[file] = code
        tests.update(module_of(file, source) + (name,) for name in files)
    root = codes.get(source / "lib.rs")
    if root is None:
        yield source, 1, "there is no lib.rs"
        return
    modules = set(DECLARATION.findall(root))
    for match in DECLARATION.finditer(root):
        if match[1] not in layer:
            line = root.count("\n", 0, match.start()) + 1
            yield source / "lib.rs", line, f"module `{match[1]}` is in no layer of scripts/check-imports.py"
    for file, code in codes.items():
        module = module_of(file, source)
        is_test = any(module[: len(test)] == test for test in tests)
        # The sub-module of one that is in no layer: said above, once.
        if not module or is_test or module[0] not in layer:
            continue
        own = module[0]
        for name, at in paths_from_root(code, module):
            line = code.count("\n", 0, at) + 1
            if name in modules or name in layer:
                if name != own and name not in layer:
                    continue
                if name != own and layer[name] >= layer[own]:
                    where = "at its own layer" if layer[name] == layer[own] else "above it"
                    yield file, line, f"`{own}` imports `{name}`, which is {where}"
            elif name not in macros and name != "self":
                yield file, line, f"`{name}` is imported from the crate's root, not from where it is defined"


def check(source, layers, macros):
    """Prints what is wrong. Whether nothing is."""
    found = list(mistakes(source, layers, macros))
    for file, line, what in found:
        print(f"{file.relative_to(ROOT)}:{line}: {what}")
    return not found


def table(layers):
    return [line.split() for line in layers.strip().splitlines()]


FIXTURE = {
    "lib.rs": "//! A crate.\nmod error;\nmod macros;\nmod model;\nmod walk;\nmod plan;\npub use model::Model;\nuse crate::Model as M;\n",
    "error.rs": "/// See [`Model`](crate::Model).\npub struct Error;\n",
    "macros.rs": "#[macro_export]\nmacro_rules! twice { ($x:expr) => { $crate::error::Error; } }\n",
    "walk/mod.rs": "mod path;\n#[cfg(test)]\nmod tests;\npub(crate) use path::Path;\nuse crate::error::Error;\n",
    "walk/path.rs": (
        "use super::super::error::Error;\nuse super::other;\nuse crate::walk::Path;\n"
        "// use crate::model::Model;\n/* use crate::model::Model; /* nested */ use crate::Model; */\n"
        'const TEXT: &str = "crate::model::Model \\" crate::Model";\nconst RAW: &str = r#"crate::Model"#;\n'
        "fn life<'a>(x: &'a str) -> char { '\"' }\n"
        "pub(in crate::walk) fn f() { crate::twice!(1) }\n"
        "#[cfg(test)]\nuse crate::{Model, model::{self, A}};\n"
        "#[cfg(test)]\n#[allow(unused)]\nmod tests {\n    use crate::model::Model;\n    fn f() { crate::Model::new(); }\n}\n"
        "mod inner { use super::Path; use super::super::Path as P; }\n"
    ),
    "walk/tests.rs": "use crate::Model;\nuse crate::model::Other;\n",
    "plan.rs": "use crate::error::Error;\n",
    "model.rs": "use crate::walk::{self, Path};\nuse crate::{error::Error, plan};\nuse super::plan::Plan;\n",
}
FIXTURE_LAYERS = [["error"], ["macros"], ["walk", "plan"], ["model", "not_there_yet"]]

# Added at the end of a file of the fixture, with what has to be said of which of the added lines.
PLANTED = [
    ("error.rs", "use crate::model::Model;", 1, "`error` imports `model`, which is above it"),
    ("walk/path.rs", "\nuse crate::{\n    error::Error,\n    model::{Model, Other},\n};", 4, "`walk` imports `model`, which is above it"),
    ("walk/path.rs", "use crate::plan::Plan;", 1, "`walk` imports `plan`, which is at its own layer"),
    ("walk/path.rs", "fn g() -> crate::model::Model { todo!() }", 1, "`walk` imports `model`, which is above it"),
    ("walk/path.rs", "use super::super::model::Model;", 1, "`walk` imports `model`, which is above it"),
    ("plan.rs", "mod inner {\n    use super::super::model::Model;\n}", 2, "`plan` imports `model`, which is above it"),
    ("plan.rs", "macro_rules! m { () => { $crate::model::Model } }", 1, "`plan` imports `model`, which is above it"),
    ("plan.rs", "const QUOTE: char = '\"';\nuse crate::model::Model;", 2, "`plan` imports `model`, which is above it"),
    ("plan.rs", "#[cfg(test)]\nuse crate::{Model};\nuse crate::model::Model;", 3, "`plan` imports `model`, which is above it"),
    ("model.rs", "use crate::Error;", 1, "`Error` is imported from the crate's root"),
    ("model.rs", "use crate::{plan, Error};", 1, "`Error` is imported from the crate's root"),
    ("model.rs", "use super::Error;", 1, "`Error` is imported from the crate's root"),
    ("model.rs", "use crate::*;", 1, "`*` is imported from the crate's root"),
    ("model.rs", "fn g() { crate::helper() }", 1, "`helper` is imported from the crate's root"),
    ("lib.rs", "mod late;", 1, "module `late` is in no layer"),
]


def self_test():
    def crate(folder, change=("", "")):
        for name, text in FIXTURE.items():
            file = Path(folder) / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text + (change[1] + "\n" if name == change[0] else ""), encoding="utf-8")
        return list(mistakes(Path(folder), FIXTURE_LAYERS, ["twice"]))

    with tempfile.TemporaryDirectory() as folder:
        found = crate(folder)
        assert not found, f"nothing is wrong with the fixture, but: {found}"
    for name, text, line, what in PLANTED:
        with tempfile.TemporaryDirectory() as folder:
            found = crate(folder, (name, text))
            line += FIXTURE[name].count("\n")
            assert len(found) == 1, f"{name} with {text!r}: one mistake expected, found {found}"
            file, at, said = found[0]
            assert (file, at) == (Path(folder) / name, line), f"{name} with {text!r}: found at {file}:{at}, not line {line}"
            assert said.startswith(what), f"{name} with {text!r}: {said!r}"
    print(f"check-imports: {len(PLANTED)} planted mistakes found")


def main(arguments):
    if arguments == ["--self-test"]:
        self_test()
        return 0
    fine = True
    for name in arguments or LAYERS:
        if name not in LAYERS:
            sys.exit(f"check-imports: no layers for '{name}' (known: {', '.join(LAYERS)})")
        fine &= check(ROOT / "crates" / name / "src", table(LAYERS[name]), MACROS[name])
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
