"""`brolly obfuscate`: a run with other weights and the same function."""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_model

from brolly.recipes import Recipe, build_data, build_model, load_run


def test_the_copy_is_a_run_that_is_judged_as_any(brolly, finished: Path, quick) -> None:
    code, out, err = brolly("obfuscate", finished, "--output-dir", "twin")
    assert (code, err) == (0, "")
    assert "outputs on 140 examples" in out
    assert out.endswith("Run: twin\nNext: brolly evaluate twin\n")
    before, after = (load_file(run / "model.safetensors") for run in (finished, Path("twin")))
    assert before.keys() == after.keys()
    changed = {key.rpartition(".")[0] for key in after if not torch.equal(after[key], before[key])}
    (line,) = (line for line in out.splitlines() if line.startswith("Layers with other weights: "))
    assert changed == set(line.partition(": ")[2].split(", "))
    assert len(changed) > 1

    (_, model, data), (_, other, _) = load_run(finished), load_run("twin")
    x = data.test.scaled(data.test.inputs[:50])
    torch.testing.assert_close(model(x), other(x), rtol=1e-4, atol=1e-4)

    code, out, err = brolly("evaluate", "twin", "--examples", "10", "--checks", "none")
    assert code == 0
    assert "digits-plain-obfuscated on digits/test" in out
    origin = f"those of {finished}, rewritten by brolly obfuscate with seed 0"
    assert f"note: the weights are {origin}" in err
    assert origin in Path("twin/report.html").read_text()
    assert "is trained already" in brolly("train", "twin").out


def test_the_seed_decides(brolly, finished: Path) -> None:
    weights = []
    for name, seed in (("one", 0), ("two", 0), ("three", 1)):
        assert brolly("obfuscate", finished, "--output-dir", name, "--seed", str(seed)).code == 0
        weights.append(load_file(Path(name, "model.safetensors")))
    one, two, three = weights
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert not all(torch.equal(one[key], three[key]) for key in one)


def test_what_obfuscate_refuses_leaves_nothing(brolly, here: Path, finished: Path) -> None:
    assert "is not a run" in brolly("obfuscate", "nowhere", "--output-dir", "new").err
    taken = brolly("obfuscate", finished, "--output-dir", finished)
    assert taken.err == f"error: {finished} is there already and not empty; choose another folder\n"
    recipe = Recipe.load(finished, ["model={name: softmax-regression}"])
    (finished / "recipe.yaml").write_text(recipe.to_yaml())
    save_model(build_model(recipe, build_data(recipe)), str(finished / "model.safetensors"))
    refused = brolly("obfuscate", finished, "--output-dir", "new")
    assert refused.code == 2
    assert "nothing in SoftmaxRegression can be rewritten: div, sub." in refused.err
    assert [path.name for path in here.iterdir()] == ["runs"]
