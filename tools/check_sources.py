#!/usr/bin/env python3
"""Holds the sources to the house rules that no compiler knows. Prints what breaks one, a line each.

    tools/check_sources.py [--root FOLDER] [RULE...]     all rules by default

    includes   src includes by folder ("log/ring.h") and down the layers only; a public header includes nothing but
               public headers and the standard library
    lengths    no function has more than 70 lines, from its first line to its closing brace: C++, C, shell, Python
    paths      no file names a folder of one machine
    links      each link of a *.md file leads to a file of the project, and its anchor to a heading there

Exit code: 0 when all hold, 1 when one is broken, 2 for wrong usage.
"""

import argparse
import ast
import os
import pathlib
import re
import subprocess
import sys
import urllib.parse

# Each folder of src may include those to its left.
LAYERS = ["base", "lmdb", "log", "window", "shared", "background", "maintenance", "engine", "remote", "api", "bindings"]
MOST_LINES = 70

CPP = (".cc", ".c", ".h")


class Tree:
    """The project's files: those that git tracks or would add; outside of git, all but build folders."""

    def __init__(self, root):
        self.root = pathlib.Path(root)
        self.files = sorted(f for f in self._listed() if (self.root / f).is_file())

    def _listed(self):
        if (self.root / ".git").exists():
            command = ["git", "-C", self.root, "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
            listed = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
            return {os.fsdecode(name) for name in listed.split(b"\0") if name}
        names = set()
        for folder, folders, files in os.walk(self.root):
            relative = os.path.relpath(folder, self.root)
            folders[:] = [f for f in folders if not (relative == "." and f.startswith("build"))]
            names.update(os.path.normpath(os.path.join(relative, f)) for f in files)
        return names

    def bytes(self, name):
        return (self.root / name).read_bytes()

    def text(self, name):
        return self.bytes(name).decode(errors="replace")

    def ending(self, *suffixes):
        return [name for name in self.files if name.endswith(suffixes)]

    def has(self, path):
        """Whether there is a file or a folder of that name."""
        return path in self.files or path == "." or any(name.startswith(path + "/") for name in self.files)


def line_of(text, offset):
    return text.count("\n", 0, offset) + 1


# --- includes

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]*)[>"]', re.M)
STANDARD = re.compile(r"[a-z_]+|std(?:def|int|bool)\.h")


def check_includes(tree):
    for name in tree.ending(*CPP):
        folder = name.split("/")[0]
        if folder not in ("src", "include"):
            continue
        text = tree.text(name)
        check = wrong_in_public if folder == "include" else wrong_in_source
        for match in INCLUDE.finditer(text):
            wrong = check(tree, name, match[1], match[2])
            if wrong:
                yield f"{name}:{line_of(text, match.start())}: {match[0].strip()}: {wrong}"
        if folder == "src" and name.split("/")[1] not in LAYERS:
            yield f"{name}: is in no layer ({', '.join(LAYERS)})"


def wrong_in_public(tree, name, quote, target):
    public = target.startswith("oncelog/") and tree.has("include/" + target)
    if quote == "<" and (public or STANDARD.fullmatch(target)):
        return None
    return "a public header includes public headers (<oncelog/...>) and the standard library only"


def wrong_in_source(tree, name, quote, target):
    layer = target.split("/")[0]
    if quote == "<" and layer not in LAYERS:
        return None
    if layer not in LAYERS or not tree.has("src/" + target):
        return 'is no file of src, by folder ("log/ring.h")'
    own = name.split("/")[1]
    if own in LAYERS and LAYERS.index(layer) > LAYERS.index(own):
        return f"{own} is below {layer}"
    return None


# --- lengths

NOISE = re.compile(
    r"""  //(?:[^\n\\]|\\.)*
        | /\*.*?\*/
        | \bu?8?R"(?P<end>[^()\s\\]{0,16})\(.*?\)(?P=end)"
        | "(?:[^"\\\n]|\\.)*"
        | (?<![0-9A-Fa-f])'(?:[^'\\\n]|\\.)+'
        | ^[ \t]*\#(?P<directive>[ \t]*\w*)(?:[^\n\\]|\\.)*""",
    re.X | re.S | re.M)


def blank(text):
    return re.sub(r"[^\n]", " ", text)


def code_of(text):
    """C++ without comments, literals and directives; the lines stay. Of the branches of an #if only the first."""
    code = NOISE.sub(lambda match: blank(match[0]), text)
    depth = 0
    left_out = []  # For each #if that has an #else: its depth, and where that begins.
    for match in NOISE.finditer(text):
        directive = (match["directive"] or "").strip()
        if directive.startswith("if"):
            depth += 1
        elif directive in ("else", "elif") and not (left_out and left_out[-1][0] == depth):
            left_out.append((depth, match.start()))
        elif directive == "endif":
            if left_out and left_out[-1][0] == depth:
                begin = left_out.pop()[1]
                code = code[:begin] + blank(code[begin : match.start()]) + code[match.start() :]
            depth -= 1
    return code


def closing(code, at):
    """Where the brace closes that opens at `at`."""
    depth = 0
    for match in re.compile("[{}]").finditer(code, at):
        depth += 1 if match[0] == "{" else -1
        if depth == 0:
            return match.start()
    raise ValueError(f"line {line_of(code, at)}: the brace is not closed")


def without_nested(head):
    """Of a declaration's text what is in no parentheses, brackets or braces, nor in its template parameters."""
    kept = []
    depth = 0
    for c in head:
        depth -= c in ")]}"
        if depth == 0:
            kept.append(c)
        depth += c in "([{"
    head = "".join(kept)
    head = re.sub(r"^(?:(?:public|protected|private)\s*:|\[\]|\s)+", "", head)
    while head.startswith("template"):
        depth = 0
        for end, c in enumerate(head):
            depth += (c == "<") - (c == ">")
            if c == ">" and depth == 0:
                break
        head = head[end + 1 :].lstrip()
    return head.rstrip()


def opens(head):
    """What a brace after this text opens, outside of functions."""
    head = without_nested(head)
    if re.match(r"(?:inline\s+)?namespace\b|extern$", head):
        return "scope"
    if re.search(r"\b(?:class|struct|union|enum)\b.*(?<!\bconst)(?<!\bnoexcept)(?<!\boverride)(?<!\))$", head, re.S):
        return "scope"
    plain = re.sub(r"operator\s*[^\s\w(]+", "operator", head)
    if re.search(r"\)[^:]*(?<!:):(?!:).*[\w>]$", plain, re.S) and not re.search(r"\btry$", plain):
        return "value"  # A constructor's member.
    assigned = re.search(r"(?<![=<>!])=(?!=)\s*(\[)?", plain)
    if (assigned and not assigned[1]) or (not assigned and "(" not in plain):
        return "value"
    return "function"


def cpp_functions(text):
    """(name, first line, last line) of each function, its lambdas and local classes counted with it."""
    code = code_of(text)
    head = at = depth = 0
    while at < len(code):
        c = code[at]
        if c in "([":
            depth += 1
        elif c in ")]":
            depth -= 1
        elif c == "{":
            kind = "value" if depth > 0 else opens(code[head:at])
            if kind != "scope":
                end = closing(code, at)
                if kind == "function":
                    begin = head + re.match(r"(?:\s|(?:public|protected|private)\s*:(?!:))*", code[head:]).end()
                    name = re.search(r"([\w:~]+|operator\s*\S+)\s*\(", code[begin:at])
                    yield name[1] if name else "lambda", line_of(code, begin), line_of(code, end)
                    head = end + 1
                at = end
            else:
                head = at + 1
        elif depth == 0 and c in ";}":
            head = at + 1
        at += 1


def shell_functions(text):
    """The same of a shell script. A function ends with the first brace that is as far to the left as its name."""
    lines = text.split("\n")
    here = None  # The word that ends a here-document.
    open_functions = []
    for number, line in enumerate(lines, 1):
        if here:
            if line.lstrip("\t") == here:
                here = None
            continue
        begin = re.match(r"(\s*)(?:function\s+)?([\w.:+-]+)\s*\(\)\s*[{(]", line)
        if begin and not re.search(r"[})]\s*(?:#.*)?$", line[begin.end() :]):
            open_functions.append((begin[1], begin[2], number))
        elif open_functions and re.match(re.escape(open_functions[-1][0]) + r"[})]", line):
            _, name, first = open_functions.pop()
            yield name, first, number
        document = re.search(r"(?<!<)<<-?\s*(['\"]?)(\w+)\1", line)
        here = document[2] if document else None
    if open_functions or here:
        raise ValueError(f"the end of {open_functions[-1][1] if open_functions else here} is not found")


def python_functions(text):
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node.name, node.lineno, node.end_lineno


def language(name, text):
    """The reader of the functions of a file, if it is a program's."""
    first = text.split("\n", 1)[0]
    if name.endswith(CPP):
        return cpp_functions
    if name.endswith(".py") or re.match(r"#!.*python", first):
        return python_functions
    if name.endswith(".sh") or re.match(r"#!.*\b(?:ba|da)?sh\b", first):
        return shell_functions
    return None


def check_lengths(tree):
    for name in tree.files:
        text = tree.text(name)
        functions = language(name, text)
        if not functions:
            continue
        try:
            for function, first, last in functions(text):
                lines = last - first + 1
                if lines > MOST_LINES:
                    yield f"{name}:{first}: {function} has {lines} lines; {MOST_LINES} at most"
        except (ValueError, SyntaxError) as error:
            yield f"{name}: cannot be read: {error}"


# --- paths

MACHINE = re.compile(rb"(?<![\w.~-])/(?:(?:work|farm|root)/|home/[A-Za-z])")


def check_paths(tree):
    for name in tree.files:
        for number, line in enumerate(tree.bytes(name).split(b"\n"), 1):
            if match := MACHINE.search(line):
                yield f"{name}:{number}: {match[0].decode()}: is a folder of one machine"


# --- links

LINK = re.compile(
    r"""\]\(\s*<?([^)\s>]+)>?[^)]*\)
        | ^[ ]{0,3}\[[^]]+\]:\s*<?([^\s>]+)
        | <(?:a|img)\b[^>]*?\b(?:href|src)="([^"]+)\"""",
    re.M | re.X)
BLOCK = re.compile(r"^ {0,3}(`{3,}|~{3,}).*?^ {0,3}\1[`~]*[ \t]*$", re.M | re.S)
SPAN = re.compile(r"(?<!`)(`+)(?!`).+?(?<!`)\1(?!`)", re.S)


def without_code(text):
    for code in (BLOCK, SPAN):
        text = code.sub(lambda match: blank(match[0]), text)
    return text


def anchors_of(text):
    """The anchors of a document as GitHub names them: of its headings, and those it sets itself."""
    anchors = {}
    for match in re.finditer(r"^ {0,3}#{1,6}[ \t]+(.*?)[ \t#]*$", BLOCK.sub("", text), re.M):
        heading = re.sub(r"!?\[([^]]*)\]\([^)]*\)", r"\1", match[1])
        slug = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        count = anchors.get(slug, 0)
        anchors[slug] = count + 1
        if count:
            anchors[f"{slug}-{count}"] = 1
    return set(anchors) | set(re.findall(r'<a\b[^>]*?\b(?:name|id)="([^"]+)"', text))


def check_links(tree):
    for name in tree.ending(".md"):
        text = tree.text(name)
        for match in LINK.finditer(without_code(text)):
            link = next(group for group in match.groups() if group)
            if re.match(r"[a-z][a-z0-9+.-]*:", link):
                continue  # Of the net.
            path, _, anchor = urllib.parse.unquote(link).partition("#")
            target = os.path.normpath(os.path.join(os.path.dirname(name), path)) if path else name
            where = f"{name}:{line_of(text, match.start())}: {link}:"
            if path.startswith("/") or not tree.has(target):
                yield f"{where} no such file in the project"
            elif anchor and not (target.endswith(".md") and anchor in anchors_of(tree.text(target))):
                yield f"{where} no such heading in {target}"


RULES = {"includes": check_includes, "lengths": check_lengths, "paths": check_paths, "links": check_links}


def main():
    parser = argparse.ArgumentParser(usage="tools/check_sources.py [--root FOLDER] [includes|lengths|paths|links ...]")
    parser.add_argument("--root", default=pathlib.Path(__file__).resolve().parent.parent)
    parser.add_argument("rules", nargs="*", metavar="RULE")
    arguments = parser.parse_args()
    for rule in arguments.rules:
        if rule not in RULES:
            parser.error(f"{rule}: no such rule")
    tree = Tree(arguments.root)
    if not tree.files:
        parser.error(f"{arguments.root}: no files")
    broken = [wrong for rule in arguments.rules or RULES for wrong in RULES[rule](tree)]
    print(*broken, sep="\n", end="\n" if broken else "")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
