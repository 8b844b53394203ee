//! `retort loss` and `retort plugin` as a user types them.

use burn::tensor::{FloatDType, TensorData};
use retort_core::{Limits, Session, Setup};
use retort_host::plugin::registry::Registry;
use retort_snapshots::{
    Case, cases, cpu, handmade, json, load_paths, losses, retort, session, tensors, workspace,
};
use safetensors::{Dtype, tensor::TensorView};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};

fn run(dir: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(retort());
    command.arg("--device=cpu").args(args).current_dir(dir).output().unwrap()
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Standard output of a command with `--json`: one object and nothing else.
fn result(dir: &Path, args: &[&str]) -> Value {
    serde_json::from_str(&text(&run(dir, &[args, &["--json"]].concat()))).unwrap()
}

/// The message of a command that must fail: one paragraph on standard error, nothing on the other.
fn error(dir: &Path, code: i32, args: &[&str]) -> String {
    let output = run(dir, args);
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{args:?}: {message}");
    assert!(output.stdout.is_empty(), "{args:?} printed a result");
    assert!(message.starts_with("error: "), "{args:?}: {message}");
    let trimmed = message.trim_end();
    assert!(!trimmed.contains('\n'), "{args:?}: one paragraph, not {message}");
    assert!(!message.contains("panicked") && !message.contains("bug in"), "{args:?}: {message}");
    message
}

type Tensors = BTreeMap<String, TensorData>;

fn view(data: &TensorData) -> TensorView<'_> {
    let dtype = match data.dtype() {
        burn::tensor::DType::F32 => Dtype::F32,
        burn::tensor::DType::F64 => Dtype::F64,
        _ => Dtype::I64,
    };
    TensorView::new(dtype, data.shape().to_vec(), data.as_bytes()).unwrap()
}

fn write(path: &Path, tensors: &Tensors) {
    let views = tensors.iter().map(|(name, data)| (name, view(data)));
    std::fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

/// A batch of six samples in three classes, which suits every loss.
fn case() -> Case {
    Case::example(6, 4, 7)
}

/// The same with proxies, for the losses that have some.
fn case_with_proxies() -> Case {
    let mut case = case();
    let proxies = Case::example(3, 4, 70).target.unwrap();
    case.state.insert("param.proxies".to_owned(), proxies);
    case
}

fn batch() -> Tensors {
    let case = case_with_proxies();
    let integers = |values: Vec<i64>| TensorData::new(values, [6]);
    let mut tensors = Tensors::from([
        ("target".to_owned(), case.target.unwrap()),
        ("source".to_owned(), case.source.unwrap()),
        ("labels".to_owned(), integers(case.labels)),
        ("ids".to_owned(), integers(case.ids)),
        ("sample_labels".to_owned(), integers(case.sample_labels)),
    ]);
    for (name, list) in
        [("target_features", case.target_features), ("source_features", case.source_features)]
    {
        let named = |(i, data)| (format!("{name}.{i}"), data);
        tensors.extend(list.into_iter().enumerate().map(named));
    }
    tensors.extend(case.state);
    tensors
}

/// A folder with the batch, changed by `f`, as `batch.safetensors`.
fn folder(f: impl FnOnce(&mut Tensors)) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut tensors = batch();
    f(&mut tensors);
    write(&dir.path().join("batch.safetensors"), &tensors);
    dir
}

fn eval<'a>(loss: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["loss", "eval", loss, "--input", "batch.safetensors"], more].concat()
}

#[test]
fn list_names_every_loss_with_what_it_does() {
    let here = workspace();
    let table = text(&run(here, &["loss", "list"]));
    let listed = result(here, &["loss", "list"]);
    for (i, loss) in losses().iter().enumerate() {
        assert!(table.contains(loss), "{table}");
        assert_eq!(listed["losses"][i]["name"], **loss);
        assert!(table.contains(listed["losses"][i]["summary"].as_str().unwrap()), "{table}");
    }
}

#[test]
fn info_says_all_that_a_user_needs() {
    let info = result(workspace(), &["loss", "info", "proxy_anchor"]);
    assert_eq!(info["inputs"], serde_json::json!(["labels", "target"]));
    assert_eq!(info["parameters"], serde_json::json!(["proxies"]));
    assert_eq!(info["hyperparameters"][1]["name"], "margin");
    assert_eq!(info["hyperparameters"][1]["default"], 0.1);
    assert_eq!((&info["origin"], &info["interface"]), (&"built in".into(), &1.into()));
    for loss in losses() {
        let page = text(&run(workspace(), &["loss", "info", &loss, "--source"]));
        let info = result(workspace(), &["loss", "info", &loss]);
        for key in ["doc", "paper", "digest"] {
            let part = info[key].as_str().unwrap();
            assert!(!part.is_empty() && page.contains(part), "{loss}, {key}: {page}");
        }
        for field in info["hyperparameters"].as_array().unwrap() {
            assert!(page.contains(field["doc"].as_str().unwrap()), "{page}");
        }
        assert!(page.contains("impl Loss for"), "--source shows the file");
    }
}

#[test]
fn eval_gives_the_librarys_numbers_from_every_load_path() {
    let dir = folder(|_| {});
    for loss in losses() {
        // State that the loss doesn't have is refused, and what isn't given starts from the seed.
        let info = result(dir.path(), &["loss", "info", &loss]);
        let has = info["parameters"].as_array().unwrap().contains(&"proxies".into());
        let case = if has { case_with_proxies() } else { case() };
        let mut file = batch();
        file.retain(|name, _| !name.starts_with("param.") || case.state.contains_key(name));
        write(&dir.path().join("batch.safetensors"), &file);
        for (dtype, flag) in [(FloatDType::F32, "f32"), (FloatDType::F64, "f64")] {
            let expected = case.run(&loss, &cpu(), dtype).unwrap();
            for (path, name) in load_paths("plugins", &loss) {
                let args =
                    eval(&name, &["--seed=1", "--dtype", flag, "--grad", "grad.safetensors"]);
                let got = result(dir.path(), &args);
                // JSON's reader, not its writer, may be off by a unit in the last place.
                let same = |got: &Value, value: f64| {
                    (got.as_f64().unwrap() - value).abs() < 1e-15 * value.abs().max(1.0)
                };
                assert!(same(&got["value"], expected.value), "{loss}, {path}, {flag}");
                for (term, value) in &expected.terms {
                    assert!(same(&got["terms"][term], *value), "{loss}, {path}, {flag}");
                }
                assert_eq!(got["origin"], path);
                assert!(got["digest"].as_str().unwrap().starts_with("sha256:"));
                let mut written = tensors(&dir.path().join("grad.safetensors"));
                written.retain(|name, _| !name.starts_with("buffer."));
                let names: Vec<&String> = expected.gradients.keys().collect();
                assert_eq!(written.keys().collect::<Vec<_>>(), names, "{loss}");
                for (name, gradient) in &expected.gradients {
                    let values: Vec<f64> = written[name].iter::<f64>().collect();
                    assert_eq!(values, *gradient, "{loss}, {path}, {flag}: {name}");
                    let like = file.get(name).unwrap_or_else(|| &expected.state[name]);
                    assert_eq!(written[name].shape(), like.shape(), "{name}");
                }
            }
        }
    }
}

/// The operations of a step, as an author debugs: the same from every load path, with the loss's own lines.
#[test]
fn eval_shows_the_operations_of_a_step() {
    let dir = folder(|tensors| tensors.retain(|name, _| !name.starts_with("param.")));
    let mut seen = Vec::new();
    for (path, name) in load_paths("plugins", "relaxed_contrastive") {
        let out = text(&run(dir.path(), &eval(&name, &["--trace"])));
        let line = |start: &str| {
            let found = out.lines().find(|line| line.trim_start().starts_with(start));
            found.unwrap_or_else(|| panic!("{path}: no {start} in\n{out}")).to_owned()
        };
        // 1/n Σ: the last two operations, on the loss's last line.
        let source =
            std::fs::read_to_string(workspace().join("plugins/src/relaxed_contrastive.rs"));
        let source = source.unwrap();
        let last = source.lines().position(|line| line.contains(".sum() / t.dim(0)")).unwrap() + 1;
        let sum = out.lines().find(|line| line.contains("= sum %")).unwrap();
        assert!(sum.trim_end().ends_with(&format!("relaxed_contrastive.rs:{last}")), "{sum}");
        assert!(sum.contains("[]") && sum.contains("gradient"), "{sum}");
        assert!(line("%0 = input `target`").contains("[6, 4]"));
        // The identity matrix is asked for three times, made once, and stays for the steps to come.
        assert_eq!(out.matches("= eye (6)").count(), 1, "{out}");
        assert!(out.lines().any(|l| l.contains("eye (6)") && l.contains("same in every step")));
        let json = result(dir.path(), &eval(&name, &["--trace"]));
        assert_eq!(json["operations"][0]["formula"], "%0 = input `target`");
        let formulas = json["operations"].as_array().unwrap().iter();
        seen.push(formulas.map(|line| line["formula"].clone()).collect::<Vec<_>>());
    }
    assert!(seen.len() == 3 && seen.iter().all(|lines| *lines == seen[0]));
}

#[test]
fn labels_of_every_integer_type_mean_the_same() {
    let dir = folder(|tensors| tensors.retain(|name, _| !name.starts_with("param.")));
    let file = batch();
    let labels: Vec<i64> = file["labels"].iter::<i64>().collect();
    let value = |dir: &Path| result(dir, &eval("multi_similarity", &[]))["value"].clone();
    let expected = value(dir.path());
    let bytes = |size: usize| -> Vec<u8> {
        labels.iter().flat_map(|label| label.to_le_bytes()[..size].to_vec()).collect()
    };
    for (dtype, size) in [
        (Dtype::I8, 1),
        (Dtype::U8, 1),
        (Dtype::I16, 2),
        (Dtype::U16, 2),
        (Dtype::I32, 4),
        (Dtype::U32, 4),
        (Dtype::U64, 8),
    ] {
        let bytes = bytes(size);
        let labels = TensorView::new(dtype, vec![labels.len()], &bytes).unwrap();
        let views = [
            ("target", view(&file["target"])),
            ("source", view(&file["source"])),
            ("labels", labels),
        ];
        let text = safetensors::serialize(views, None).unwrap();
        std::fs::write(dir.path().join("batch.safetensors"), text).unwrap();
        assert_eq!(value(dir.path()), expected, "{dtype:?}");
    }
}

#[test]
fn eval_takes_hyperparameters() {
    let dir = folder(|t| drop(t.remove("param.proxies")));
    let with = |set: &str| result(dir.path(), &eval("relaxed_contrastive", &["--set", set]));
    let (default, narrow) = (with("sigma=1"), with("sigma=0.5"));
    assert_ne!(default["value"], narrow["value"]);
    assert_eq!(narrow["hyperparameters"], serde_json::json!({"sigma": 0.5, "delta": 1.0}));
    let plain = text(&run(dir.path(), &eval("relaxed_contrastive", &["--set", "sigma=0.5"])));
    assert_eq!(plain, format!("relaxed_contrastive = {}\n", narrow["value"]));
}

#[test]
fn eval_takes_random_draws_and_gives_buffers_back() {
    let dir = folder(|t| {
        t.retain(|name, _| name == "target");
        t.insert("ids".to_owned(), TensorData::new(vec![0i64, 1, 2, 3, 4, 5], [6]));
        t.insert("random.0".to_owned(), TensorData::new(vec![5i64, 0, 0, 0, 0, 2], [6, 1]));
        t.insert("buffer.bank".to_owned(), TensorData::new(vec![2f32; 24], [6, 4]));
    });
    let (_, name) = load_paths("snapshots/hostile", "bank").pop().unwrap();
    result(dir.path(), &eval(&name, &["--grad", "out.safetensors"]));
    let out = tensors(&dir.path().join("out.safetensors"));
    let numbers = |data: &TensorData| data.iter::<f64>().collect::<Vec<_>>();
    assert_eq!(numbers(&out["buffer.bank"]), numbers(&batch()["target"]), "after the step");
    assert_eq!(numbers(&out["target"]), [2.0; 24], "the bank before the step");
    let got = result(dir.path(), &eval(&name, &["--dtype=f64"]));
    let sum: f64 = batch()["target"].iter::<f64>().sum();
    assert!((got["value"].as_f64().unwrap() - 2.0 * sum).abs() < 1e-12, "{got}");
    assert_eq!(got["terms"]["drawn"], 7.0, "the first draw is the file's");
    let other = result(dir.path(), &eval(&name, &["--seed=4"]));
    assert_eq!(other["terms"]["drawn"], 7.0, "the seed doesn't matter where the file draws");
}

#[test]
fn wrong_commands_exit_with_2_and_name_what_would_be_right() {
    let dir = folder(|_| {});
    let error = |args: &[&str]| error(dir.path(), 2, args);
    for (message, part) in [
        (error(&eval("rdk", &[])), "no built-in loss rdk; did you mean rkd?"),
        (error(&eval("xyzzy", &[])), "no built-in loss xyzzy. It has: "),
        (error(&["loss", "info", "rdk"]), "did you mean rkd?"),
        (error(&eval("rkd", &["--set", "weight_angel=1"])), "did you mean weight_angle?"),
        (error(&eval("rkd", &["--set", "q=1"])), "it has: weight_distance, weight_angle"),
        (error(&eval("rkd", &["--set", "weight_angle=-1"])), "out of range: at least 0"),
        (error(&eval("proxy_anchor", &["--set", "alpha=0"])), "out of range: above 0"),
        (error(&eval("rkd", &["--set", "weight_angle=much"])), "must be a number, not \"much\""),
        (error(&eval("rkd", &["--set", "weight_angle"])), "isn't KEY=VALUE"),
        (error(&eval("rkd", &["--limit", "second=1"])), "did you mean seconds?"),
        (error(&eval("rkd", &["--limit", "seconds=long"])), "seconds"),
        (error(&eval("rkd", &["--views=4"])), "6 rows aren't 4 views"),
        (error(&eval("rkd", &["--progress=nan"])), "--progress NaN isn't 0 to 1"),
        (error(&eval("rkd", &["--set", "weight=1"])), "no hyperparameter weight"),
        (error(&["plugin", "build", "nowhere"]), "nowhere is no pack: there is no Cargo.toml"),
    ] {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn files_that_cannot_be_used_exit_with_1_and_name_file_and_tensor() {
    let evaluate = |loss: &str, f: &dyn Fn(&mut Tensors)| {
        let dir = folder(|t| f(t));
        let message = error(dir.path(), 1, &eval(loss, &["--grad", "grad.safetensors"]));
        assert!(!dir.path().join("grad.safetensors").exists(), "nothing half done: {message}");
        message
    };
    let floats =
        |dims: &[usize]| TensorData::new(vec![0.5f32; dims.iter().product()], dims.to_vec());
    let put = |name: &'static str, data: TensorData| {
        move |t: &mut Tensors| drop(t.insert(name.to_owned(), data.clone()))
    };
    let integers = |values: &[i64]| TensorData::new(values.to_vec(), [values.len()]);
    let drop_it = |name: &'static str| move |t: &mut Tensors| drop(t.remove(name));
    let labels = |values: [i64; 6]| put("labels", TensorData::new(values.to_vec(), [6]));
    for (message, part) in [
        (evaluate("rkd", &drop_it("target")), "this step has no target; the loss needs"),
        (evaluate("rkd", &drop_it("source")), "source"),
        (evaluate("proxy_anchor", &drop_it("labels")), "labels"),
        (evaluate("rkd", &put("target", floats(&[6]))), "target has shape [6]; it needs 2"),
        (evaluate("rkd", &put("source", floats(&[5, 4]))), "source has 5 rows, but target has 6"),
        (evaluate("rkd", &put("labels", floats(&[6]))), "labels must hold integers"),
        (evaluate("rkd", &put("tagret", floats(&[6, 4]))), "tagret, which is no input of a loss"),
        (evaluate("rkd", &put("random.1", floats(&[6]))), "random.0 is missing"),
        (
            evaluate("rkd", &put("target_features.4", floats(&[6, 2]))),
            "target_features.3 is missing",
        ),
        (
            evaluate("rkd", &put("target_features.0", floats(&[6]))),
            "target_features.0 has shape [6]",
        ),
        (evaluate("proxy_anchor", &labels([0, 0, 1, 1, 2, -1])), "the index holds -1"),
        (evaluate("proxy_anchor", &put("param.proxies", floats(&[3, 5]))), "it has shape [3, 5]"),
        (evaluate("proxy_anchor", &labels([0, 0, 1, 1, 2, 7])), "it has shape [3, 4]"),
        (
            evaluate("proxy_anchor", &put("param.proxie", floats(&[3, 4]))),
            "did you mean param.proxies?",
        ),
        (evaluate("rkd", &put("param.a", floats(&[1; 5]))), "more than four dimensions"),
        (evaluate("rkd", &put("target", floats(&[0, 4]))), "tensor target has shape [0, 4]; every"),
        (evaluate("rkd", &put("target", floats(&[6, 0]))), "tensor target has shape [6, 0]; every"),
        (evaluate("rkd", &put("target", floats(&[0, 1 << 60]))), "every dimension must be 1 to 21"),
        (evaluate("fitnet", &put("target_features.0", floats(&[6, 0, 4, 4]))), "[6, 0, 4, 4]"),
        (evaluate("rkd", &put("labels", integers(&[]))), "tensor labels has shape [0]"),
        (evaluate("rkd", &put("labels", integers(&[0, 1, 2]))), "labels has 3 rows, but target"),
        (evaluate("rkd", &put("target_features.0", floats(&[5, 3]))), "target_features.0 has 5"),
        (
            evaluate("proxy_anchor", &labels([0, 0, 1, 1, 2, i64::MAX])),
            "has to be said (`classes`)",
        ),
        (evaluate("proxy_anchor", &labels([0, 0, 1, 1, 2, 1 << 40])), "has to be said (`classes`)"),
        (evaluate("crd", &put("ids", integers(&[0, 1, 2, 3, 4, i64::MAX]))), "tensor ids holds 92"),
        (
            evaluate("crd", &put("ids", integers(&[0, 1, 2, 3, 4, 9]))),
            "ids holds 9, but there are 6",
        ),
        (evaluate("crd", &put("ids", integers(&[0, 1, 2, 3, 4, -9]))), "ids holds -9"),
        (
            evaluate("crd", &put("sample_labels", integers(&[i64::MAX; 6]))),
            "sample_labels holds 92",
        ),
    ] {
        assert!(message.contains(part), "{part}: {message}");
    }
    let dir = folder(labels([0, 0, 1, 1, 2, 7]));
    let message = error(dir.path(), 1, &eval("proxy_anchor", &["--classes=3"]));
    assert!(message.contains("the index holds 7, which is not in 0..3"), "{message}");
    let dir = folder(|_| {});
    let message = error(dir.path(), 1, &eval("crd", &["--samples=100"]));
    assert!(message.contains("sample_labels holds 6 classes, but there are 100"), "{message}");
}

#[test]
fn damaged_and_missing_files_exit_with_1() {
    let dir = folder(|_| {});
    let batch = dir.path().join("batch.safetensors");
    let whole = std::fs::read(&batch).unwrap();
    let mut long_header = whole.clone();
    long_header[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    for bytes in [&b""[..], b"hello", &whole[..whole.len() / 2], &whole[..100], &long_header] {
        std::fs::write(&batch, bytes).unwrap();
        let message = error(dir.path(), 1, &eval("rkd", &[]));
        assert!(message.contains("batch.safetensors: it isn't a whole safetensors"), "{message}");
    }
    let missing = ["loss", "eval", "rkd", "--input", "nowhere.safetensors"];
    assert!(error(dir.path(), 1, &missing).contains("nowhere.safetensors"));
    assert!(error(dir.path(), 1, &["plugin", "info", "nowhere.wasm"]).contains("nowhere.wasm"));
    std::fs::write(dir.path().join("text.wasm"), "no WebAssembly").unwrap();
    let message = error(dir.path(), 1, &["plugin", "info", "text.wasm"]);
    assert!(message.contains("text.wasm: it isn't WebAssembly"), "{message}");
    assert!(error(dir.path(), 1, &["plugin", "list", "nowhere.so"]).contains("nowhere.so"));

    std::fs::write(&batch, &whole).unwrap();
    let into_nothing = eval("proxy_anchor", &["--grad", "no/such/folder/grad.safetensors"]);
    assert!(error(dir.path(), 1, &into_nothing).contains("no/such/folder/grad.safetensors"));
}

#[test]
fn a_loss_that_is_nan_is_a_number_for_machines_too() {
    let nan = TensorData::new(vec![f32::NAN; 24], [6, 4]);
    let dir = folder(|t| {
        t.remove("param.proxies");
        t.insert("target".to_owned(), nan);
    });
    assert_eq!(result(dir.path(), &eval("rkd", &[]))["value"], "nan");
}

#[test]
fn plugin_build_makes_both_forms_and_list_and_info_show_them() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().to_str().unwrap();
    let pack = workspace().join("plugins");
    let build = ["plugin", "build", pack.to_str().unwrap(), "--profile=dev", "--out", out];
    let built = result(workspace(), &[&build[..], &["--yes"]].concat());
    let listed = result(dir.path(), &["plugin", "list", ".", "--native"]);
    assert_eq!(listed["packs"][0]["origin"], "built in");
    for (i, origin) in ["native", "wasm"].into_iter().enumerate() {
        let pack = &built["packs"][i];
        assert_eq!(pack["origin"], origin);
        assert_eq!(pack["losses"], serde_json::json!(losses()));
        let path = pack["path"].as_str().unwrap();
        assert_eq!(result(dir.path(), &["plugin", "info", path]), *pack);
        let found = listed["packs"].as_array().unwrap();
        assert!(found.iter().any(|p| p["digest"] == pack["digest"]), "{listed}");
        assert!(text(&run(dir.path(), &["plugin", "info", path])).contains(path));
    }
    let one = result(workspace(), &[&build[..], &["--wasm"]].concat());
    assert_eq!(one["packs"].as_array().unwrap().len(), 1);
    assert_eq!(one["packs"][0]["digest"], built["packs"][1]["digest"], "built twice, the same");
}

/// What a pack says about itself, wrong: a sentence that names file, loss and hyperparameter.
#[test]
fn packs_that_misdescribe_themselves_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pack.wasm");
    let refusal = |description: &str| {
        std::fs::write(&file, handmade::component(description, "")).unwrap();
        error(dir.path(), 1, &["plugin", "info", "pack.wasm"])
    };
    let field = |more: Value| {
        let mut field = serde_json::json!({"name": "x", "doc": "", "kind": "float", "default": 1});
        field.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        handmade::description("a", &serde_json::json!([field]))
    };
    let good = field(serde_json::json!({}));
    let deep = "[".repeat(100_000);
    for (description, part) in [
        (
            good.replacen("\"interface\":1", "\"interface\":2", 1),
            "interface 2, but the file carries 1",
        ),
        (
            field(serde_json::json!({"name": "weight"})),
            "loss \"a\": hyperparameter \"weight\": an exp",
        ),
        (
            field(serde_json::json!({"default": "1"})),
            "hyperparameter \"x\": its default \"1\" isn't",
        ),
        (
            field(serde_json::json!({"range": {"min": 2}})),
            "its default 1 isn't a number (at least 2)",
        ),
        (field(serde_json::json!({"range": {"min": 2, "max": 1}})), "its range is empty: 2 to 1"),
        (
            good.replacen("\"default\":1", "\"default\":1e999", 1),
            "description isn't what the interface asks for",
        ),
        (
            good.replacen("\"default\":1", &format!("\"default\":{deep}"), 1),
            "description isn't what the interface asks",
        ),
        (good[..good.len() / 2].to_owned(), "description isn't what the interface asks for"),
        (field(serde_json::json!({"doc": "x".repeat(5 << 20)})), "bytes, more than 4194304"),
        (String::new(), "description isn't what the interface asks for"),
    ] {
        let message = refusal(&description);
        assert!(message.contains("pack.wasm isn't a retort plugin: "), "{message}");
        assert!(message.contains(part), "{part}: {message}");
    }
    std::fs::write(&file, handmade::component(&good, "")).unwrap();
    assert_eq!(result(dir.path(), &["plugin", "info", "pack.wasm"])["losses"][0], "a");
}

/// Files that aren't there to be read whole are refused before they are read.
#[cfg(unix)]
#[test]
fn plugin_files_that_are_no_files_are_refused_at_once() {
    let dir = tempfile::tempdir().unwrap();
    for end in ["wasm", "so"] {
        let path = |name: &str| dir.path().join(format!("{name}.{end}"));
        std::fs::create_dir(path("folder")).unwrap();
        std::os::unix::fs::symlink("/dev/zero", path("device")).unwrap();
        assert!(Command::new("mkfifo").arg(path("pipe")).status().unwrap().success());
        let huge = std::fs::File::create(path("huge")).unwrap();
        huge.set_len(10 << 30).unwrap();
        for (name, part) in [
            ("folder", "it is a folder"),
            ("device", "it is a device, not a file"),
            ("pipe", "it is a pipe, not a file"),
            ("huge", "it has 10737418240 bytes, and such a file may have "),
        ] {
            let begun = std::time::Instant::now();
            let file = format!("{name}.{end}");
            let message = error(dir.path(), 1, &["plugin", "info", &file]);
            assert!(message.contains(&file) && message.contains(part), "{message}");
            assert!(begun.elapsed().as_secs() < 10, "{file} took {:?}", begun.elapsed());
        }
    }
    let small = dir.path().join("small.wasm");
    let description = handmade::description("a", &serde_json::json!([]));
    std::fs::write(&small, handmade::component(&description, "")).unwrap();
    let dir = folder(|_| {});
    let name = format!("{}#a", small.display());
    let message = error(dir.path(), 1, &eval(&name, &["--limit=component_bytes=100"]));
    assert!(message.contains("such a file may have 100 (limit `component_bytes`)"), "{message}");
}

/// A small component whose functions take a compiler very long: many loops in one another, through
/// which many values go.
#[test]
fn compiling_has_a_deadline_and_leaves_nothing_running() {
    use std::fmt::Write as _;
    let dir = folder(|_| {});
    let mut function = "(func (local ".to_owned() + &"i64 ".repeat(200) + ")";
    for k in 0..500 {
        let (i, j) = (k % 200, (7 * k + 1) % 200);
        let _ = write!(function, " loop (local.set {i} (i64.add (local.get {i}) (local.get {j})))");
    }
    for k in 0..500 {
        let _ = write!(function, " (br_if 0 (i32.wrap_i64 (local.get {}))) end", 3 * k % 200);
    }
    let description = handmade::description("a", &serde_json::json!([]));
    let component = handmade::component(&description, &(function + ")").repeat(40));
    assert!(component.len() < 1 << 20);
    std::fs::write(dir.path().join("slow.wasm"), component).unwrap();
    let begun = std::time::Instant::now();
    let message = error(dir.path(), 1, &eval("slow.wasm#a", &["--limit=compile_seconds=1.5"]));
    assert!(message.contains("more than 1.5 seconds (limit `compile_seconds`)"), "{message}");
    assert!(begun.elapsed().as_secs() < 20, "{:?}", begun.elapsed());
    #[cfg(target_os = "linux")]
    for process in std::fs::read_dir("/proc").unwrap().filter_map(Result::ok) {
        let Ok(cwd) = std::fs::read_link(process.path().join("cwd")) else { continue };
        assert!(cwd != dir.path().canonicalize().unwrap(), "{process:?} is still at work");
    }
}

#[test]
fn components_of_endless_depth_or_number_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let leb = |mut n: usize| {
        let mut out = Vec::new();
        while n >= 128 {
            out.push((n % 128) as u8 | 128);
            n /= 128;
        }
        out.push(n as u8);
        out
    };
    // Component in component in component; a section's number and size, then its content.
    let header = b"\0asm\x0d\0\x01\0";
    let mut nested = header.to_vec();
    for _ in 0..2000 {
        nested = [&header[..], &[4], &leb(nested.len()), &nested].concat();
    }
    // Custom sections with an empty name.
    let many = [&header[..], &[0, 1, 0].repeat(3 << 20)].concat();
    for (bytes, part) in [(nested, "32 deep in one another"), (many, "1048576 sections and")] {
        std::fs::write(dir.path().join("pack.wasm"), bytes).unwrap();
        let message = error(dir.path(), 1, &["plugin", "info", "pack.wasm"]);
        assert!(message.contains(part), "{message}");
    }
}

#[cfg(unix)]
#[test]
fn a_build_that_is_killed_leaves_the_plugins_whole() {
    let dir = tempfile::tempdir().unwrap();
    let pack = workspace().join("snapshots/hostile");
    let args = ["plugin", "build", pack.to_str().unwrap(), "--profile=dev", "--out=packs", "--yes"];
    text(&run(dir.path(), &args));
    let read = || {
        let files = std::fs::read_dir(dir.path().join("packs")).unwrap().map(|e| e.unwrap().path());
        let plugins = files.filter(|p| p.extension().is_some());
        plugins.map(|p| (p.clone(), std::fs::read(p).unwrap())).collect::<BTreeMap<_, _>>()
    };
    let whole = read();
    assert_eq!(whole.len(), 2);
    let begun = std::time::Instant::now();
    text(&run(dir.path(), &args));
    let takes = begun.elapsed();
    for i in 1..=10 {
        let mut command = Command::new(retort());
        command.args(args).current_dir(dir.path()).stdout(std::process::Stdio::null());
        let mut child = command.stderr(std::process::Stdio::null()).spawn().unwrap();
        std::thread::sleep(takes * i / 10);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(read() == whole, "killed after {i} tenths of its time");
    }
    assert_eq!(result(dir.path(), &["plugin", "list", "packs"])["packs"][1]["origin"], "wasm");
}

#[test]
fn a_file_with_several_losses_asks_which() {
    let (_, name) = load_paths("plugins", "rkd").pop().unwrap();
    let file = name.split('#').next().unwrap();
    let message = error(workspace(), 2, &["loss", "info", file]);
    assert!(message.contains("say which") && message.contains("rkd"), "{message}");
    let wrong = format!("{file}#rdk");
    assert!(error(workspace(), 2, &["loss", "info", &wrong]).contains("did you mean rkd?"));
}

/// A file of one loss needs no `#`, wherever a loss is named, and is never part of a folder's name.
#[test]
fn a_file_with_one_loss_is_named_by_the_file() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("a#b")).unwrap();
    let description = handmade::description("alone", &serde_json::json!([]));
    for file in ["pack.wasm", "a#b/pack.wasm"] {
        std::fs::write(dir.path().join(file), handmade::component(&description, "")).unwrap();
        let train = ["train", "source", "--dataset=glyphs", "--print-config", "--loss", file];
        let config = text(&run(dir.path(), &train));
        assert!(config.contains(&format!("name = \"{file}#alone\"")), "{config}");
    }
    let (_, name) = load_paths("plugins", "rkd").pop().unwrap();
    let file = name.split('#').next().unwrap();
    let message = error(dir.path(), 2, &["train", "source", "--dataset=glyphs", "--loss", file]);
    assert!(message.contains("27 losses; say which") && message.contains("#relaxed"), "{message}");
    assert!(!dir.path().join("runs").exists(), "it is said before there is a folder");
}

#[test]
fn an_example_suits_every_loss() {
    let dir = tempfile::tempdir().unwrap();
    for loss in losses() {
        let file = format!("{loss}.safetensors");
        let eval = ["loss", "eval", &loss];
        let first = result(dir.path(), &[&eval[..], &["--example", &file]].concat());
        assert!(first["value"].as_f64().unwrap().is_finite(), "{first}");
        let again = result(dir.path(), &[&eval[..], &["--input", &file]].concat());
        assert_eq!(first, again);
    }
    let bytes = std::fs::read(dir.path().join("rkd.safetensors")).unwrap();
    std::fs::write(dir.path().join("batch.safetensors"), "mine").unwrap();
    let message = error(dir.path(), 1, &["loss", "eval", "rkd", "--example"]);
    assert!(
        message.contains("batch.safetensors: it is there and holds something else"),
        "{message}"
    );
    std::fs::remove_file(dir.path().join("batch.safetensors")).unwrap();
    for _ in 0..2 {
        let output = run(dir.path(), &["loss", "eval", "rkd", "--example"]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("source [12, 12], target [12, 8]"), "{said}");
        assert_eq!(std::fs::read(dir.path().join("batch.safetensors")).unwrap(), bytes);
    }
    let tensors = tensors(&dir.path().join("batch.safetensors"));
    assert!(!tensors.contains_key("source_features.0"), "it doesn't ask for them");
    let neither = run(dir.path(), &["loss", "eval", "rkd"]);
    assert_eq!(neither.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&neither.stderr).contains("--input <FILE.safetensors>"));
}

#[test]
fn a_workspace_says_which_packs_it_has() {
    let root = workspace().canonicalize().unwrap();
    let message = error(&root, 2, &["plugin", "build", "."]);
    for part in [
        ". is a workspace with these packs: ",
        "./plugins",
        "./snapshots/hostile",
        "retort plugin build ./",
    ] {
        assert!(message.contains(part), "{message}");
    }
    let core = error(&root, 2, &["plugin", "build", "core"]);
    assert!(core.contains("core/Cargo.toml builds no plugin: add `[lib] crate-type"), "{core}");
}

/// A pack crate of one loss, in a folder, whose SDK is beside it.
fn pack_in(folder: &Path) {
    std::fs::create_dir_all(folder.join("pack/src")).unwrap();
    let sdk = folder.join("sdk");
    for part in ["", "src", "wit"] {
        std::fs::create_dir_all(sdk.join(part)).unwrap();
        for entry in std::fs::read_dir(workspace().join("sdk").join(part)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                std::fs::copy(&path, sdk.join(part).join(path.file_name().unwrap())).unwrap();
            }
        }
    }
    // The SDK is a member of the workspace, as in a clone; profiles are of crates that aren't here.
    let root = std::fs::read_to_string(workspace().join("Cargo.toml")).unwrap();
    let (_, shared) = root.split_once("[workspace.package]").unwrap();
    let (shared, rest) = shared.split_once("[profile.dev]").unwrap();
    let (_, lints) = rest.split_once("[workspace.lints.rust]").unwrap();
    let root = format!(
        "[workspace]\nresolver = \"3\"\nmembers = [\"pack\", \"sdk\"]\n\n[workspace.package]{shared}\
         [workspace.lints.rust]{lints}"
    );
    std::fs::write(folder.join("Cargo.toml"), root).unwrap();
    std::fs::copy(workspace().join("Cargo.lock"), folder.join("Cargo.lock")).unwrap();
    let manifest = "[package]\nname = \"pack\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[lib]\ncrate-type = [\"cdylib\"]\n\n\
        [dependencies]\nretort-sdk = { path = \"../sdk\" }\n";
    std::fs::write(folder.join("pack/Cargo.toml"), manifest).unwrap();
    std::fs::write(folder.join("pack/src/lib.rs"), "retort_sdk::losses! { good::Good }\n").unwrap();
    let loss = workspace().join("snapshots/hostile/src/good.rs");
    std::fs::copy(loss, folder.join("pack/src/good.rs")).unwrap();
}

/// One source gives the same bytes in two folders, and they say nothing of where that was. Built cold, it
/// takes less than a minute; and what a pack's own repository runs at every change works.
#[test]
fn a_pack_is_the_same_wherever_it_was_built_and_tests_itself() {
    let dir = tempfile::tempdir().unwrap();
    let mut digests = Vec::new();
    for name in ["one_folder", "quite/another_folder"] {
        let folder = dir.path().join(name);
        pack_in(&folder);
        let mut command = Command::new(retort());
        command.args(["plugin", "build", "pack", "--out=out", "--json"]).current_dir(&folder);
        let output = command.env_remove("CARGO_TARGET_DIR").output().unwrap();
        let built: Value = serde_json::from_str(&text(&output)).unwrap();
        let packs = built["packs"].as_array().unwrap();
        digests.push(packs.iter().map(|p| p["digest"].clone()).collect::<Vec<_>>());
        let home = std::env::home_dir().unwrap();
        for file in std::fs::read_dir(folder.join("out")).unwrap().map(|e| e.unwrap().path()) {
            let bytes = std::fs::read(&file).unwrap();
            for place in [dir.path().canonicalize().unwrap(), home.clone()] {
                let place = place.to_str().unwrap().as_bytes();
                let names = bytes.windows(place.len()).any(|window| window == place);
                assert!(!names, "{} names {}", file.display(), String::from_utf8_lossy(place));
            }
        }
    }
    assert_eq!(digests[0], digests[1], "native and component");

    // The line that the workflow to copy runs.
    let workflow = std::fs::read_to_string(workspace().join("docs/ci/pack.yml")).unwrap();
    let line = workflow.lines().find_map(|l| l.split_once("run: retort plugin test")).unwrap().1;
    let folder = dir.path().join("one_folder/pack");
    let test = |more: &[&str]| {
        let mut command = Command::new(retort());
        command.args(["plugin", "test"]).args(line.split_whitespace()).args(more);
        command.env_remove("CARGO_TARGET_DIR").current_dir(&folder).output().unwrap()
    };
    let output = test(&[]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("no snapshot yet of good: `retort snapshot record "), "{said}");
    let xml = || std::fs::read_to_string(folder.join("retort.xml")).unwrap();
    assert!(
        xml().contains("name=\"good\" tests=\"18\" failures=\"0\" errors=\"0\" skipped=\"1\""),
        "{}",
        xml()
    );

    // A file is named without `#`, and its path is no part of the run's folder.
    let train = "train source --dataset glyphs --epochs 1 --width 4 --embedding 8 --batch 32";
    let train: Vec<&str> =
        train.split(' ').chain(["--loss", "../target/retort/pack.wasm"]).collect();
    text(&run(&folder, &train));
    assert!(folder.join("runs/source-glyphs-good/config.toml").is_file());

    text(&run(
        &folder,
        &["snapshot", "record", "../target/retort/pack.wasm", "--out", "snapshots"],
    ));
    assert!(test(&[]).status.success());
    let file = folder.join("snapshots/good.snapshot");
    let recorded = std::fs::read_to_string(&file).unwrap();
    let (before, after) = recorded.split_once("value.1 ").unwrap();
    std::fs::write(&file, format!("{before}value.1 9{after}")).unwrap();
    let output = test(&[]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("error: good fails: snapshot"), "{said}");
    assert!(xml().contains("failures=\"1\""));
}

/// Values of the golden file, by hand: `retort loss eval --dtype f64` on a case of it.
#[test]
fn a_golden_case_can_be_checked_by_hand() {
    let golden = json(&retort_snapshots::golden("losses.json"));
    let golden = &golden["losses"]["relaxed_contrastive"];
    let file = tensors(&retort_snapshots::golden(golden["file"].as_str().unwrap()));
    let case = &golden["cases"][0];
    let input = |i: usize| file[case["inputs"][i]["tensor"].as_str().unwrap()].clone();
    let dir = tempfile::tempdir().unwrap();
    let batch = [("target".to_owned(), input(0)), ("source".to_owned(), input(1))];
    write(&dir.path().join("batch.safetensors"), &Tensors::from(batch));
    let empty = Map::new();
    let hyper = case["hyperparameters"].as_object().unwrap_or(&empty);
    let sets: Vec<String> = hyper.iter().map(|(k, v)| format!("--set={k}={v}")).collect();
    let flags: Vec<&str> = sets.iter().map(String::as_str).chain(["--dtype=f64"]).collect();
    let got = result(dir.path(), &eval("relaxed_contrastive", &flags))["value"].as_f64().unwrap();
    let want = case["expected"]["loss_f64"].as_f64().unwrap();
    assert!((got - want).abs() <= 1e-9 * want.abs(), "{got} instead of {want}");
}

/// The cache of compiled components: what an attacker could have put there isn't run.
#[cfg(unix)]
mod cache {
    use super::*;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
    use std::path::PathBuf;

    /// Two components in a folder, and a cache.
    struct Cached {
        dir: tempfile::TempDir,
    }

    impl Cached {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            for name in ["a", "b"] {
                let description = handmade::description(name, &serde_json::json!([]));
                let file = dir.path().join(format!("{name}.wasm"));
                std::fs::write(file, handmade::component(&description, "")).unwrap();
            }
            Cached { dir }
        }

        fn folder(&self) -> PathBuf {
            self.dir.path().join("cache")
        }

        /// Lists a component; its one loss is called as its file.
        fn list(&self, name: &str) -> Output {
            let mut command = Command::new(retort());
            command.args(["loss", "list", "--json"]).arg(format!("{name}.wasm"));
            let output =
                command.env("RETORT_CACHE", self.folder()).current_dir(self.dir.path()).output();
            let output = output.unwrap();
            let listed: Value = serde_json::from_str(&text(&output)).unwrap();
            assert_eq!(listed["losses"][0]["name"], name);
            output
        }

        fn entries(&self) -> Vec<PathBuf> {
            let entries = std::fs::read_dir(self.folder().join("components"));
            entries.into_iter().flatten().map(|e| e.unwrap().path()).collect()
        }

        /// The entry of a component.
        fn entry(&self, name: &str) -> PathBuf {
            let before = self.entries();
            assert!(before.is_empty(), "{before:?}");
            self.list(name);
            self.entries().pop().unwrap()
        }
    }

    fn inode(path: &Path) -> u64 {
        std::fs::symlink_metadata(path).unwrap().ino()
    }

    #[test]
    fn it_is_used_and_private() {
        let cached = Cached::new();
        let entry = cached.entry("a");
        let made = inode(&entry);
        cached.list("a");
        assert_eq!(inode(&entry), made, "not compiled again");
        let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!(mode(&cached.folder()), 0o700);
        assert_eq!(mode(entry.parent().unwrap()), 0o700);
        assert_eq!(mode(&cached.folder().join("components.key")), 0o600);
        std::fs::remove_file(cached.folder().join("components.key")).unwrap();
        cached.list("a");
        assert_ne!(inode(&entry), made, "another key");
    }

    #[test]
    fn planted_code_is_not_run() {
        let cached = Cached::new();
        let entry = cached.entry("b");
        let whole = std::fs::read(&entry).unwrap();
        std::fs::remove_file(&entry).unwrap();
        let other = cached.entry("a");
        // Another component's own entry, and its code with the hash that anybody can make.
        let code = &whole[..whole.len() - 32];
        let plain = retort_host::plugin::digest(code);
        let plain = (0..32).map(|i| u8::from_str_radix(&plain[7 + 2 * i..9 + 2 * i], 16).unwrap());
        let plain = [code, &plain.collect::<Vec<u8>>()].concat();
        for planted in [&whole, &plain, &whole[..40].to_vec(), &Vec::new()] {
            std::fs::write(&other, planted).unwrap();
            cached.list("a");
            assert_ne!(std::fs::read(&other).unwrap(), *planted, "made anew");
        }
    }

    #[test]
    fn links_and_pipes_are_not_followed() {
        let cached = Cached::new();
        let entry = cached.entry("a");
        let elsewhere = cached.dir.path().join("elsewhere");
        std::fs::rename(&entry, &elsewhere).unwrap();
        symlink(&elsewhere, &entry).unwrap();
        cached.list("a");
        assert!(std::fs::symlink_metadata(&entry).unwrap().is_file(), "made anew in its place");
        std::fs::remove_file(&entry).unwrap();
        assert!(Command::new("mkfifo").arg(&entry).status().unwrap().success());
        cached.list("a");
        assert!(std::fs::symlink_metadata(&entry).unwrap().is_file(), "made anew in its place");
        // A key that is a link, or that others could read, is none.
        let key = cached.folder().join("components.key");
        for _ in 0..2 {
            let made = inode(&entry);
            if std::fs::symlink_metadata(&elsewhere).unwrap().len() == 32 {
                std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
            } else {
                std::fs::rename(&key, &elsewhere).unwrap();
                symlink(&elsewhere, &key).unwrap();
            }
            cached.list("a");
            assert_ne!(inode(&entry), made);
            let metadata = std::fs::symlink_metadata(&key).unwrap();
            assert!(metadata.is_file() && metadata.mode() & 0o777 == 0o600);
        }
    }

    #[test]
    fn folders_that_others_can_write_to_are_not_used() {
        let cached = Cached::new();
        let entry = cached.entry("a");
        let made = inode(&entry);
        for folder in [cached.folder(), cached.folder().join("components")] {
            let set = |mode| {
                let mode = std::fs::Permissions::from_mode(mode);
                std::fs::set_permissions(&folder, mode).unwrap();
            };
            set(0o777);
            std::fs::write(&entry, b"planted").unwrap();
            let output = cached.list("a");
            let said = String::from_utf8(output.stderr).unwrap();
            assert!(said.contains("can be written to by others"), "{said}");
            assert_eq!(std::fs::read(&entry).unwrap(), b"planted", "neither read nor written");
            set(0o700);
        }
        cached.list("a");
        assert_ne!(inode(&entry), made);
        // A link in the place of the folder of components.
        let (components, elsewhere) =
            (cached.folder().join("components"), cached.dir.path().join("elsewhere"));
        std::fs::rename(&components, &elsewhere).unwrap();
        symlink(&elsewhere, &components).unwrap();
        let said = String::from_utf8(cached.list("a").stderr).unwrap();
        assert!(said.contains("components is no folder"), "{said}");
    }

    /// A folder of another user is no cache, not even for root.
    #[test]
    fn folders_of_other_users_are_not_used() {
        let cached = Cached::new();
        let entry = cached.entry("a");
        if std::os::unix::fs::chown(entry.parent().unwrap(), Some(12345), None).is_err() {
            return; // only root can give a folder away
        }
        std::fs::write(&entry, b"planted").unwrap();
        let said = String::from_utf8(cached.list("a").stderr).unwrap();
        assert!(said.contains("belongs to another user"), "{said}");
        assert_eq!(std::fs::read(&entry).unwrap(), b"planted");
    }

    /// Whenever a process is killed that compiles and writes an entry, the next one goes well.
    #[test]
    fn a_kill_at_any_moment_loses_nothing() {
        let cached = Cached::new();
        for delay in (0..40).map(|i| 3 * i) {
            let mut command = Command::new(retort());
            command.args(["loss", "list", "a.wasm"]).current_dir(cached.dir.path());
            command.env("RETORT_CACHE", cached.folder()).stdout(std::process::Stdio::null());
            let mut child = command.spawn().unwrap();
            std::thread::sleep(std::time::Duration::from_millis(delay));
            child.kill().unwrap();
            child.wait().unwrap();
            if delay % 4 == 0 {
                cached.list("a");
                cached.entries().iter().for_each(|entry| std::fs::remove_file(entry).unwrap());
            }
        }
        cached.list("a");
    }
}

/// `retort loss eval` on one of the cases on which retort fell short once.
fn eval_case<'a>(loss: &'a str, file: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["loss", "eval", loss, "--input", file], more].concat()
}

fn shared(file: &str) -> String {
    cases(file).to_str().unwrap().to_owned()
}

fn evaluated(loss: &str, file: &str, more: &[&str]) -> f64 {
    result(workspace(), &eval_case(loss, &shared(file), more))["value"].as_f64().unwrap()
}

/// Values of NumPy on the same draws: the authors' weights in 64 bits, negatives beyond 1.4 left out.
#[test]
fn distance_weighted_negatives_in_512_dimensions() {
    for (seed, want) in [("0", 0.220_828_87), ("1", 0.222_259_18), ("2", 0.222_549_21)] {
        for dtype in ["f32", "f64"] {
            let flags = ["--set=triplets=distance-weighted", "--seed", seed, "--dtype", dtype];
            let got = evaluated("triplet", "dw_512.safetensors", &flags);
            assert!((got - want).abs() < 1e-5, "seed {seed}, {dtype}: {got} instead of {want}");
        }
    }
}

/// One pair and negatives at 0.9, 1.2, 1.39 and 1.9, in 8 dimensions, where the authors' weights give a
/// mean distance of 1.031; and one whose negatives are all beyond 1.4, where each is as likely.
#[test]
fn distance_weighted_negatives_are_drawn_as_by_the_authors() {
    let mut registry = Registry::new(Limits::default()).unwrap();
    let found = registry.find("triplet").unwrap();
    let hyper = serde_json::json!({"triplets": "distance-weighted", "margin": 3});
    let hyper = found.resolve(hyper.as_object().unwrap()).unwrap();
    for (distances, mean) in [(&[0.9, 1.2, 1.39, 1.9][..], 1.031), (&[1.5, 1.9], 1.7)] {
        // Anchor and positive coincide; each negative turns away from them in a plane of its own.
        let n = 2 + distances.len();
        let mut rows = vec![0.0; n * 8];
        (rows[0], rows[8]) = (1.0, 1.0);
        for (k, &distance) in distances.iter().enumerate() {
            let angle: f64 = 2.0 * f64::asin(distance / 2.0);
            (rows[(2 + k) * 8], rows[(2 + k) * 8 + 1 + k]) = (angle.cos(), angle.sin());
        }
        let target = Some(TensorData::new(rows, [n, 8]));
        let labels = [0].into_iter().chain(0..=distances.len() as i64).collect();
        let case = Case { target, labels, views: 1, ..Case::default() };
        let nearer: Vec<f64> = distances.iter().copied().filter(|&d| d < 1.4).collect();
        let allowed = if nearer.is_empty() { distances } else { &nearer };
        let mut sum = 0.0;
        for seed in 0..400 {
            let limits = Limits::default();
            let code = found.create(&hyper, &limits).unwrap();
            let setup = Setup { device: cpu(), dtype: FloatDType::F32, seed, limits };
            let mut session = Session::new("triplet", code, setup);
            let value = case.step(&mut session, &cpu(), FloatDType::F32).unwrap().value;
            // Both samples are anchors, and draw one each.
            let twice = 2.0 * (3.0 - value);
            let known = |a: &f64| allowed.iter().any(|b| (a + b - twice).abs() < 1e-5);
            assert!(allowed.iter().any(known), "seed {seed}: {value}");
            sum += twice / 2.0;
        }
        assert!((sum / 400.0 - mean).abs() < 0.014, "{} instead of {mean}", sum / 400.0);
    }
}

#[test]
fn labels_are_compared_whole() {
    for loss in ["supcon", "circle", "contrastive", "multi_similarity", "triplet", "n_pair"] {
        let [large, small] = ["lab_big31.safetensors", "lab_small.safetensors"]
            .map(|file| evaluated(loss, file, &[]));
        assert_eq!(large, small, "{loss}");
    }
    let crd = |file| evaluated("crd_batch", file, &["--classes=8", "--set=dim=4", "--set=queue=4"]);
    assert_eq!(crd("crdb_0.safetensors"), crd("crdb_16777216.safetensors"));

    // In the queue, too: the second step's classes are those of the first.
    let second = |start: i64| {
        let mut case = case();
        case.labels.iter_mut().for_each(|label| *label += start);
        let hyper = Map::from_iter([("queue".to_owned(), 4.into())]);
        let device = cpu();
        let limits = Limits::default();
        let opened = session("crd_batch", &hyper, &device, FloatDType::F32, &limits);
        let mut session = opened.unwrap();
        case.step(&mut session, &device, FloatDType::F32).unwrap();
        case.step(&mut session, &device, FloatDType::F32).unwrap().value
    };
    assert_eq!(second(0), second(1 << 24));
}

#[test]
fn near_duplicates_have_finite_gradients() {
    let dir = tempfile::tempdir().unwrap();
    let file = shared("neardup13.safetensors");
    for loss in
        ["rkd_angle", "rkd_distance", "rkd", "relaxed_contrastive", "contrastive", "darkrank"]
    {
        result(dir.path(), &eval_case(loss, &file, &["--grad", "grad.safetensors"]));
        let gradient = &tensors(&dir.path().join("grad.safetensors"))["target"];
        assert!(gradient.iter::<f64>().all(f64::is_finite), "{loss}: {gradient}");
    }
}

/// What every loss that compares classes says of a batch that has none.
#[test]
fn a_batch_without_labels_is_said_to_have_none() {
    let file = shared("nolab.safetensors");
    for loss in ["supcon", "circle", "contrastive", "multi_similarity", "triplet", "n_pair"] {
        let message = error(workspace(), 1, &eval_case(loss, &file, &[]));
        assert!(message.contains("this step has no labels"), "{loss}: {message}");
    }
}

#[test]
fn embeddings_of_two_widths_are_not_stretched() {
    let file = shared("bc16.safetensors");
    for measure in ["--set=measure=l2", "--set=measure=cosine"] {
        let flags = ["--set=project=false", measure];
        let message = error(workspace(), 1, &eval_case("embedding_regression", &file, &flags));
        assert!(message.contains("[8, 1]") && message.contains("[8, 16]"), "{message}");
        assert!(message.contains("project = true"), "{message}");
    }
}

/// A batch or a training set that lacks what a loss compares: it says so, and doesn't give 0.
#[test]
fn nothing_to_learn_from_is_no_loss_of_zero() {
    let with = |labels: [i64; 6]| {
        folder(|t| {
            t.remove("param.proxies");
            t.insert("labels".to_owned(), TensorData::new(labels.to_vec(), [6]));
        })
    };
    let (one_class, distinct) = (with([0; 6]), with([0, 1, 2, 3, 4, 5]));
    let one_pair = with([0, 0, 1, 2, 3, 4]);
    for (dir, losses, part) in [
        (
            &one_class,
            &["multi_similarity", "triplet", "circle"][..],
            "all samples of the batch are",
        ),
        (&distinct, &["multi_similarity", "triplet", "circle", "supcon"], "no two samples of the"),
        (&one_pair, &["n_pair"], "fewer than two classes of the batch have two samples"),
        (&one_class, &["n_pair"], "fewer than two classes of the batch have two samples"),
        (
            &one_class,
            &["proxy_nca", "proxy_nca_pp", "soft_triple", "cross_entropy", "arcface"],
            "the training set has one class",
        ),
    ] {
        for loss in losses {
            let message = error(dir.path(), 1, &eval(loss, &[]));
            let says = message.contains("isn't defined on this batch") && message.contains(part);
            assert!(says, "{loss}: {message}");
        }
    }
    // DarkRank has its ranking still.
    assert!(result(one_class.path(), &eval("darkrank", &[]))["value"].as_f64().unwrap() > 0.0);
    let two = folder(|t| {
        t.retain(|name, _| name.contains("features"));
        for (name, data) in t.iter_mut() {
            let width = if name.starts_with("target") { 3 } else { 5 };
            *data = TensorData::new(vec![1f32; 6 * width], [6, width, 1, 1]);
        }
    });
    let message = error(two.path(), 1, &eval("attention", &[]));
    assert!(message.contains("one place only"), "{message}");
}
