"""The README and the docs: their Python runs, their recipes load, their commands exist."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

from brolly import Recipe
from brolly.attacks import CATALOGUE, ENSEMBLES
from brolly.cli._main import run
from brolly.recipes import SHIPPED

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


def with_blocks(language: str) -> list[Path]:
    return [page for page in PAGES if blocks(page, language)]


def test_the_readme_shows_python() -> None:
    assert PAGES[0] in with_blocks("python")


@pytest.mark.parametrize("page", with_blocks("python"), ids=lambda page: page.name)
def test_python_runs(page: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {}
    for block in blocks(page, "python"):
        exec(compile(block, str(page), "exec"), namespace)


@pytest.mark.parametrize("page", with_blocks("yaml"), ids=lambda page: page.name)
def test_recipes_load(page: Path, tmp_path: Path) -> None:
    for number, block in enumerate(blocks(page, "yaml")):
        file = tmp_path / f"{number}.yaml"
        file.write_text(block)
        assert Recipe.load(file).name == yaml.safe_load(block)["name"]


def commands() -> list[str]:
    lines = [line for page in PAGES for block in blocks(page, "sh") for line in block.splitlines()]
    return sorted({line.partition("#")[0].strip() for line in lines if line.startswith("brolly ")})


@pytest.mark.parametrize("line", commands())
def test_commands_exist(line: str, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    _, command, *words = shlex.split(line)
    assert run([command, "--help"]) == 0
    if command == "train" and words[0] in SHIPPED:
        overrides = [word for word in words[1:] if "=" in word]
        assert run(["train", words[0], *overrides, "--print-config"]) == 0
    if "--dry-run" in words:
        assert run([command, *words]) == 0


def test_make_targets_exist() -> None:
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    named = {
        word for page in PAGES for word in re.findall(r"^make ([a-z]+)", page.read_text(), re.M)
    }
    assert named == {"demo", "test", "check", "peers"}
    assert named <= set(targets)


def test_every_attack_has_a_row() -> None:
    page = (ROOT / "docs" / "attacks.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    for name, entry in CATALOGUE.items():
        (row,) = (line for line in rows if f"`{name}`" in line.split("|")[1])
        assert f"`{entry.attack.__name__}`" in row
    for name in ENSEMBLES:
        assert sum(f"| `{name}` |" in line for line in rows) == 1


def test_links_inside_the_project_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?://)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_run_folders_named_are_those_that_the_recipes_make() -> None:
    named = {
        folder for page in PAGES for folder in re.findall(r"[\w-]+-[0-9a-f]{8}\b", page.read_text())
    }
    assert named
    assert named <= {Recipe.load(name).folder for name in SHIPPED}
