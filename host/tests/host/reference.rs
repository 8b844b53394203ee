//! The relaxed losses' authors' command lines with only the program's name changed, and the suites that have the
//! same settings.

use crate::program::{json, retort};
use retort_core::Limits;
use retort_host::plugin::registry::Registry;
use retort_host::suite::{Over, Source, Suite, builtin};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Output;

/// All command lines of the authors' README that train.
const DOCUMENTED: &str = "
source --gpu-id 0 --loss Proxy_Anchor --model bn_inception --embedding-size 512 --batch-size 180 --lr 1e-4 --dataset cub --warm 1 --bn-freeze 1 --lr-decay-step 10
target --gpu-id 0 --loss Relaxed_Contra --model bn_inception --embedding-size 512 --batch-size 90 --IPC 2 --dataset cub --epochs 90 --source-ckpt ./pretrained_source/bn_inception/cub_bn_inception_512dim_Proxy_Anchor_ckpt.pth --view 2 --sigma 1 --delta 1 --save 1
target --gpu-id 0 --loss Relaxed_Contra --model bn_inception --embedding-size 512 --batch-size 90 --IPC 2 --dataset cars --epochs 90 --source-ckpt ./pretrained_source/bn_inception/cars_bn_inception_512dim_Proxy_Anchor_ckpt.pth --view 2 --sigma 1 --delta 1 --save 1
target --gpu-id 0 --loss Relaxed_Contra --model bn_inception --embedding-size 512 --batch-size 90 --IPC 2 --dataset SOP --epochs 150 --source-ckpt ./pretrained_source/bn_inception/SOP_bn_inception_512dim_Proxy_Anchor_ckpt.pth --view 2 --sigma 1 --delta 1 --save 1
target --gpu-id 0 --loss Relaxed_Contra --model bn_inception --embedding-size 64 --batch-size 90 --IPC 2 --dataset cub --epochs 90 --source-ckpt ./pretrained_source/bn_inception/cub_bn_inception_512dim_Proxy_Anchor_ckpt.pth --view 2 --sigma 1 --delta 1 --save 1
target --gpu-id 0 --loss Relaxed_Contra --model bn_inception --embedding-size 64 --batch-size 90 --IPC 2 --dataset cars --epochs 90 --source-ckpt ./pretrained_source/bn_inception/cars_bn_inception_512dim_Proxy_Anchor_ckpt.pth --view 2 --sigma 1 --delta 1 --save 1
target --gpu-id 0 --loss Relaxed_Contra --model bn_inception --embedding-size 64 --batch-size 90 --IPC 2 --dataset SOP --epochs 150 --source-ckpt ./pretrained_source/bn_inception/SOP_bn_inception_512dim_Proxy_Anchor_ckpt.pth --view 2 --sigma 1 --delta 1 --save 1
target --gpu-id 0 --loss Relaxed_Contra --model resnet18 --embedding-size 128 --batch-size 90 --IPC 2 --dataset cub --epochs 90 --source-ckpt ./pretrained_source/resnet50/cub_resnet50_512dim_Proxy_Anchor_ckpt.pth --view 2 --sigma 1 --delta 1 --save 1
target --gpu-id 0 --loss Relaxed_Contra --model resnet18 --embedding-size 128 --batch-size 90 --IPC 2 --dataset cars --epochs 90 --source-ckpt ./pretrained_source/resnet50/cars_resnet50_512dim_Proxy_Anchor_ckpt.pth --view 2 --sigma 1 --delta 1 --save 1
target --gpu-id 0 --loss Relaxed_Contra --model resnet18 --embedding-size 128 --batch-size 90 --IPC 2 --dataset SOP --epochs 150 --source-ckpt ./pretrained_source/resnet50/SOP_resnet50_512dim_Proxy_Anchor_ckpt.pth --view 2 --sigma 1 --delta 1 --save 1
";

/// Small pictures and networks, after whatever a line says.
const SMALL: &[&str] =
    &["--set=data.classes=16", "--set=data.images=8", "--set=data.size=32", "--json"];

fn train(line: &str, more: &[&str], dir: &Path) -> Output {
    let words: Vec<&str> = line.split_whitespace().collect();
    retort(&[&["train"], &words[..], more].concat(), dir)
}

/// What a line would train.
fn config(line: &str, dir: &Path) -> Value {
    json(&train(line, &["--print-config", "--json"], dir))
}

/// An option of a line.
fn option<'a>(line: &'a str, name: &str) -> &'a str {
    let mut words = line.split_whitespace().skip_while(|word| *word != name);
    words.nth(1).unwrap_or_else(|| panic!("no {name} in {line}"))
}

/// What decides how a network learns: not which files it begins with, how often it is looked at, or by how many
/// threads it is fed. Nor whether frozen batch norms thaw after the first epoch: the lines do what they say, the suites
/// what their authors' code did, because published numbers stand beside theirs.
fn learning(experiment: &Value) -> Value {
    let mut all = experiment.clone();
    for key in [
        "/source",
        "/pretrained",
        "/seed",
        "/recall_at",
        "/train/evaluate_every",
        "/train/workers",
        "/train/thaw_batch_norm",
    ] {
        if let Some(value) = all.pointer_mut(key) {
            *value = Value::Null;
        }
    }
    if all["data"]["size"] == 0 {
        all["data"]["size"] = json!(224); // what these networks take
    }
    for loss in all["loss"].as_array_mut().unwrap() {
        // Those of the suites are the losses' defaults.
        loss["hyper"] = Value::Null;
    }
    all
}

/// The paper's settings exist once, in the suites; the authors' command lines say the same.
#[test]
fn every_documented_command_line_is_one_of_the_suites() {
    let dir = tempfile::tempdir().unwrap();
    let mut registry = Registry::new(Limits::default()).unwrap();
    for line in DOCUMENTED.lines().filter(|line| !line.is_empty()) {
        let name = match (option(line, "--model"), option(line, "--embedding-size")) {
            ("resnet18", _) => "compression",
            (_, "64") => "dimension_reduction",
            _ => "self_transfer",
        };
        let path = Path::new(name);
        let suite = Suite::parse(&builtin::text(path).unwrap(), path).unwrap();
        let over = Over::default();
        let wanted = suite.wanted(&over, &mut registry).unwrap();
        let wanted = wanted.into_iter().find(|wanted| {
            suite.dataset[wanted.dataset].name == option(line, "--dataset").to_lowercase()
                && suite.method[wanted.method].name == "Relaxed Contra"
        });
        let wanted = wanted.unwrap();
        let experiment = if line.starts_with("source") {
            match suite.source(wanted.dataset, wanted.setting, wanted.seed, &over).unwrap() {
                Source::Trained(experiment) => *experiment,
                Source::Given(path) => panic!("{name} gives {}", path.display()),
            }
        } else {
            wanted.experiment
        };
        let role = line.split_whitespace().next().unwrap();
        std::fs::write(dir.path().join("suite.toml"), toml::to_string(&experiment).unwrap())
            .unwrap();
        let suites = learning(&config(&format!("{role} suite.toml"), dir.path()));
        let said = learning(&config(line, dir.path()));
        assert_eq!(said, suites, "{line}, and {name}");
        // What is printed as a file is the same experiment.
        let printed = train(line, &["--print-config"], dir.path());
        std::fs::write(dir.path().join("printed.toml"), &printed.stdout).unwrap();
        let again = config(&format!("{role} printed.toml"), dir.path());
        assert_eq!(learning(&again), said, "{line}");
    }
    assert!(!dir.path().join("runs").exists(), "printing made a run");
}

#[test]
fn every_option_of_the_authors_scripts_has_its_effect() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("pictures")).unwrap();
    let both: &[(&str, &str, Value)] = &[
        ("--LOG_DIR logs", "", json!(null)),
        ("--save 0", "", json!(null)),
        ("--save 1", "", json!(null)),
        ("--workers 3", "/train/workers", json!(3)),
        ("--gpu-id 0", "", json!(null)),
        ("--gpu-id -1", "", json!(null)),
        ("--DATA_DIR pictures", "/data/root", json!("pictures")),
        ("--dataset cub", "/data/name", json!("cub")),
        ("--dataset cars", "/data/name", json!("cars")),
        ("--dataset SOP", "/data/name", json!("sop")),
        ("--dataset SOP", "/recall_at", json!([1, 10, 100, 1000])),
        ("--embedding-size 64", "/network/embedding", json!(64)),
        ("--batch-size 30", "/train/batch", json!(30)),
        ("--epochs 7", "/train/epochs", json!(7)),
        ("--model bn_inception", "/network/name", json!("bn_inception")),
        ("--model resnet18", "/network/name", json!("resnet18")),
        ("--model resnet50", "/network/name", json!("resnet50")),
        ("--model resnet101", "/network/name", json!("resnet101")),
        ("--optimizer sgd", "/train/optimizer/name", json!("sgd")),
        ("--optimizer adam", "/train/optimizer/name", json!("adam")),
        ("--optimizer rmsprop", "/train/optimizer/name", json!("rmsprop")),
        ("--optimizer adamw", "/train/optimizer/name", json!("adamw")),
        ("--lr 0.5", "/train/lr", json!(0.5)),
        ("--weight-decay 0.25", "/train/weight_decay", json!(0.25)),
        ("--IPC 3", "/train/images_per_class", json!(3)),
        ("--bn-freeze 1", "/network/frozen_batch_norm", json!(true)),
        ("--bn-freeze 0", "/network/frozen_batch_norm", json!(false)),
        ("--warm 2", "/train/new_only_epochs", json!(2)),
        ("--remark words", "", json!(null)),
    ];
    let source: &[(&str, &str, Value)] = &[
        ("--lr-decay-step 4", "/train/schedule/every", json!(4)),
        ("--lr-decay-gamma 0.25", "/train/schedule/gamma", json!(0.25)),
        ("--l2-norm 1", "/network/l2_norm", json!(true)),
        ("--alpha 16", "/loss/0/hyper/alpha", json!(16.0)),
        ("--mrg 0.5", "/loss/0/hyper/margin", json!(0.5)),
        ("--loss Proxy_Anchor", "/loss/0/name", json!("proxy_anchor")),
        ("--loss Proxy_NCA", "/loss/0/name", json!("proxy_nca")),
        ("--loss MS", "/loss/0/name", json!("multi_similarity")),
        ("--loss Contrastive", "/loss/0/name", json!("contrastive")),
        ("--loss Triplet", "/loss/0/name", json!("triplet")),
        ("--loss NPair", "/loss/0/name", json!("n_pair")),
        // Defaults.
        ("", "/train/schedule/name", json!("step")),
        ("", "/train/clip_value", json!(10.0)),
        ("", "/train/epochs", json!(90)),
        ("", "/train/images_per_class", json!(0)),
        ("", "/train/loss_lr_factor", json!(100.0)),
    ];
    let target: &[(&str, &str, Value)] = &[
        ("--target-norm 1", "/network/l2_norm", json!(true)),
        ("--source-ckpt a.pth --source-norm 0", "/source_norm", json!(false)),
        ("--source-ckpt a.pth", "/source", json!("a.pth")),
        ("--view 2", "/train/views", json!(2)),
        ("--delta 0.5", "/loss/0/hyper/delta", json!(0.5)),
        ("--sigma 0.5", "/loss/0/hyper/sigma", json!(0.5)),
        ("--loss Relaxed_Contra", "/loss/0/name", json!("relaxed_contrastive")),
        ("--loss Relaxed_MS", "/loss/0/name", json!("relaxed_ms")),
        ("--loss RKD", "/loss/0/name", json!("rkd")),
        ("--loss PKT", "/loss/0/name", json!("pkt")),
        ("--loss DarkRank", "/loss/0/name", json!("darkrank")),
        ("--loss Attention", "/loss/0/name", json!("attention")),
        ("--loss FitNet", "/loss/0/name", json!("fitnet")),
        ("--loss FitNet", "/loss/0/lr_factor", json!(1.0)),
        ("--loss CRD", "/loss/0/name", json!("crd")),
        ("--loss CRD", "/loss/1/name", json!("proxy_anchor")),
        ("", "/train/schedule", json!("cosine")),
        ("", "/train/clip_value", json!(0.0)),
        ("", "/source_norm", json!(true)),
    ];
    for (role, list) in [("source", both), ("target", both), ("source", source), ("target", target)]
    {
        for (options, path, value) in list {
            let dataset = if options.contains("--dataset") { "" } else { "--dataset cub" };
            let config = config(&format!("{role} {dataset} {options}"), dir.path());
            if !path.is_empty() {
                assert_eq!(config.pointer(path), Some(value), "{role} {options}: {config:#}");
            }
        }
    }
}

#[test]
fn the_authors_lines_train() {
    let dir = tempfile::tempdir().unwrap();
    let source = "source --gpu-id 0 --loss Proxy_Anchor --model resnet18 --embedding-size 16 \
        --batch-size 16 --lr 1e-4 --dataset glyphs --epochs 2 --warm 1 --bn-freeze 1 \
        --lr-decay-step 10 --IPC 4 --LOG_DIR pretrained_source --remark first";
    let output = train(source, SMALL, dir.path());
    let run = json(&output)["run"].as_str().unwrap().to_owned();
    assert_eq!(run, "pretrained_source/source-glyphs-proxy_anchor-first");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("epoch 2/2"), "{said}");
    // A network of another kind learns from it with every transfer loss.
    for loss in
        ["Relaxed_Contra", "Relaxed_MS", "RKD", "PKT", "DarkRank", "Attention", "FitNet", "CRD"]
    {
        let line = format!(
            "target --device cpu --loss {loss} --model convnet --width 4 --embedding-size 8 \
             --batch-size 16 --IPC 2 --dataset glyphs --epochs 1 --source-ckpt {run} --view 2 \
             --save 1 --source-norm 0 --target-norm 0 --out {loss}"
        );
        assert!(json(&train(&line, SMALL, dir.path()))["loss"].is_number(), "{loss}");
    }
    let missing = "target --device cpu --loss RKD --dataset glyphs --source-ckpt nowhere.pth";
    let output = train(missing, SMALL, dir.path());
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("nowhere.pth"));
}

#[test]
fn a_training_without_progress_ends_early() {
    let dir = tempfile::tempdir().unwrap();
    let line = "source --device cpu --loss proxy_anchor --width 4 --embedding 8 --batch 16 \
        --images-per-class 4 --epochs 9 --lr 0 --set network.frozen_batch_norm=true --patience 2 \
        --out run";
    json(&train(line, SMALL, dir.path()));
    let text = std::fs::read_to_string(dir.path().join("run/summary.json")).unwrap();
    let summary: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(summary["epochs"], 3, "{summary}");
    let line = format!("{line} --set train.evaluate_every=0");
    let output = train(&line.replace("--out run", "--out other"), SMALL, dir.path());
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("set evaluate_every = 1"));
}

#[test]
fn parts_and_devices_train() {
    let dir = tempfile::tempdir().unwrap();
    let line = "source --device cpu --loss proxy_anchor --width 4 --embedding 8 --batch 16 \
        --images-per-class 4 --epochs 1 --bn-freeze 1";
    let whole = json(&train(line, SMALL, dir.path()))["loss"].as_f64().unwrap();
    for more in ["--chunks 3", "--also-on cpu", "--also-on cpu --chunks 2"] {
        let parts = json(&train(&format!("{line} {more}"), SMALL, dir.path()));
        let loss = parts["loss"].as_f64().unwrap();
        assert!((loss - whole).abs() < 1e-4 * whole, "{more}: {loss}, whole {whole}");
    }
    let more = "--chunks 2 --also-on cpu --ema-decay 0.5";
    json(&train(&format!("{line} {more}"), SMALL, dir.path()));
    let output = train(&format!("{line} --also-on tpu"), SMALL, dir.path());
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("there is no device tpu"));
}
