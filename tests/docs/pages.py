"""Makes a site of the repository's pages, which stay where they lie: beside what they describe, as a forge shows them.

MkDocs calls the functions `on_…`. Links are the same on a forge and on the site. What a page links to besides pages,
a source file or a directory of them, becomes a page of the site too, which shows the text.
"""

import json
import os
import posixpath
import re
from pathlib import Path

from mkdocs.structure.files import File, InclusionLevel
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_for_filename
from pygments.util import ClassNotFound

ROOT = Path(__file__).resolve().parents[2]
# What git ignores, and the pages of projects that `parlance new` makes.
IGNORED = {".git", ".parlance", ".venv", "dist", "node_modules", "target", "templates"}
PICTURES = (".png", ".svg")
# The pages of the contract, which `parlance-wit reference` writes into the directory that the variable names.
CONTRACT = "wit"
REFERENCE = "WIT_REFERENCE"
# The page that lists the settings, and the schema that it is made of.
SETTINGS = "host/settings.md"
SCHEMA = "host/parlance.schema.json"
# What stands in parentheses behind a text in brackets.
LINK = re.compile(r"(?<=\]\()([^()\s]+)(?=\))")
# Longer than any fence in what is shown.
FENCE = "~" * 8


def on_config(config):
    config.mdx_configs["toc"] = {"slugify": anchor}
    return config


def anchor(heading, _separator):
    """The name that a heading has in links, as forges make it."""
    return re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-")


def on_files(files, config):
    def add(path, inclusion=InclusionLevel.INCLUDED):
        files.append(File(path, ROOT, config.site_dir, config.use_directory_urls, inclusion=inclusion))

    def generate(path, text, inclusion=InclusionLevel.NOT_IN_NAV):
        files.append(File.generated(config, path, content=text, inclusion=inclusion))

    generate("code.css", HtmlFormatter(style="friendly").get_style_defs(".codehilite"))
    contract = reference()
    for name, text in contract.items():
        generate(f"{CONTRACT}/{name}", text, InclusionLevel.INCLUDED)
    config.nav = [{"Interfaces": nav_of(contract)} if "Interfaces" in entry else entry for entry in config.nav]
    generate(SETTINGS, settings(), InclusionLevel.INCLUDED)
    shown = set()
    for path in all_paths():
        if path.endswith(PICTURES):
            add(path)
        elif path.endswith(".md"):
            add(path)
            shown.update(source for source, _ in map(source_behind(path), LINK.findall(read(path))) if source)
    for path in sorted(shown):
        generate(f"{path}.md", f"# {path}\n\n" + "\n".join(map(listing, files_at(path))))
    return files


def on_page_markdown(markdown, page, **_):
    behind = source_behind(page.file.src_uri)
    return LINK.sub(lambda link: behind(link[1])[1], markdown)


def source_behind(page):
    """For a link on the page: the source that it leads to, if any, and the link as the site has it."""

    def behind(link):
        target, hash_, place = link.partition("#")
        path = posixpath.normpath(posixpath.join(posixpath.dirname(page), target))
        at = ROOT / path
        if not target or ":" in target or path.startswith("..") or not at.exists():
            return None, link
        if (at / "README.md").exists() or path == CONTRACT:
            return None, f"{target.rstrip('/')}/README.md{hash_}{place}"
        if path.endswith((".md", *PICTURES)):
            return None, link
        return path, f"{target.rstrip('/')}.md"

    return behind


def reference():
    """The pages of the contract by name, the list of interfaces first."""
    directory = os.environ.get(REFERENCE)
    if not directory:
        raise SystemExit(f"{REFERENCE} is not set: `make docs` writes the reference of wit/ and sets it")
    pages = {path.name: path.read_text(encoding="utf-8") for path in sorted(Path(directory).glob("*.md"))}
    return {"README.md": pages.pop("README.md"), **pages}


def nav_of(contract):
    return [{"All": f"{CONTRACT}/{name}"} if name == "README.md" else f"{CONTRACT}/{name}" for name in contract]


def settings():
    """Every setting by its table, from the schema that `parlance check-config --schema` prints."""
    tables = json.loads(read(SCHEMA))["properties"]
    of_tenants = tables["tenants"]["additionalProperties"]["properties"]
    parts = [
        "# Settings",
        "Each is a key of the file, in the table that the heading names, and a variable of the environment, which goes over "
        "the file. [The server's guide](README.md#configure) says how to use both.",
    ]
    for name, table in tables.items():
        if name not in ("handlers", "tenants"):
            parts += settings_of(name, table, of_tenants.get(name, {}).get("properties", {}))
    handlers = tables["handlers"]
    keys = next(iter(handlers["properties"].values()))
    events = ", ".join(f"`{name}`" for name in handlers["properties"])
    parts += ["## handlers", f"{handlers['description']} A table for each of {events}."]
    parts += rows(keys["properties"], keys["properties"])
    parts += ["## tenants", f"{tables['tenants']['description']} It has the tables of the tenant's settings above."]
    return "\n\n".join(parts)


def settings_of(name, table, of_tenant):
    """The section of a table, and one for each list of tables in it."""
    properties = table["properties"]
    plain = {key: schema for key, schema in properties.items() if schema.get("type") != "array" or "default" in schema}
    parts = [f"## {name}", table["description"], *rows(plain, of_tenant)]
    for key, schema in properties.items():
        if key not in plain:
            items = schema["items"]
            one = ", ".join(f"`{only['required'][0]}`" for only in items["oneOf"])
            parts += [f"### {name}.{key}", f"{schema['description']} Each has exactly one of {one}."]
            parts += rows(items["properties"], items["properties"] if key in of_tenant else {})
    return parts


def rows(properties, of_tenant):
    """A table of settings; none for no settings."""

    def row(key, schema):
        meaning = " ".join(schema.get("description", "").split()).replace("|", "\\|").replace("*", "\\*")
        default = f"`{json.dumps(schema['default'])}`" if "default" in schema else ""
        return f"| `{key}` | {default} | {'each tenant' if key in of_tenant else 'the server'} | {meaning} |"

    head = ["| key | default | of | |", "| --- | --- | --- | --- |"]
    return ["\n".join(head + [row(*entry) for entry in properties.items()])] if properties else []


def listing(path):
    """A text as a block of code, under its path."""
    try:
        language = get_lexer_for_filename(path).aliases[0]
    except ClassNotFound:
        language = "text"
    return f"`{path}`\n\n{FENCE} {language}\n{read(path)}\n{FENCE}\n"


def files_at(path):
    """The file, or all files of the directory."""
    return [path] if (ROOT / path).is_file() else [below for below in all_paths() if below.startswith(f"{path}/")]


def all_paths():
    paths = []
    for directory, inner, names in os.walk(ROOT):
        inner[:] = [name for name in inner if name not in IGNORED]
        paths += [(Path(directory) / name).relative_to(ROOT).as_posix() for name in names]
    return sorted(paths)


def read(path):
    return (ROOT / path).read_text(encoding="utf-8")
