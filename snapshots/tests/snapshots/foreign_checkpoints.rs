//! Checkpoints as the world has them: any name, any prefix, anything beside the weights, several files; and
//! files that are something else. What PyTorch wrote itself is from `references/beside.py`.

use burn::store::bridge;
use burn::tensor::{DType, TensorData};
use retort_core::backbone::{Backbone, NetworkConfig};
use retort_core::checkpoint::{self, Checkpoint, NoNetwork, OpenOptions, Selection, Weights};
use retort_host::failure::Failure;
use retort_snapshots::torch::{self, Entry, convnet, renamed, saved};
use retort_snapshots::{cpu, golden, json, workspace};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn reference(name: &str) -> PathBuf {
    workspace().join("snapshots/references").join(name)
}

/// A file's values by key, as they were saved.
fn values(
    tensors: &BTreeMap<String, burn::store::burn_pack::Tensor>,
) -> BTreeMap<String, Vec<f32>> {
    let read = |t| bridge::to_data(t).unwrap().iter::<f32>().collect();
    tensors.iter().map(|(key, tensor)| (key.clone(), read(tensor))).collect()
}

/// A network's values by key.
fn state(net: &Backbone) -> BTreeMap<String, Vec<f32>> {
    let state = checkpoint::state_dict(net).unwrap();
    state.into_iter().map(|(key, data)| (key, data.iter::<f32>().collect())).collect()
}

fn expected(entries: &[Entry]) -> BTreeMap<String, Vec<f32>> {
    entries.iter().map(|entry| (entry.key.clone(), entry.values.clone())).collect()
}

fn open(path: &Path, options: &OpenOptions) -> Result<Checkpoint, String> {
    checkpoint::open(path, options, &cpu().inner()).map_err(|e| Failure::from(e).message)
}

fn opened(path: &Path) -> Checkpoint {
    open(path, &OpenOptions::default()).unwrap_or_else(|e| panic!("{e}"))
}

fn refused(path: &Path) -> String {
    open(path, &OpenOptions::default()).unwrap_err()
}

fn picked(prefix: Option<&str>, ignore: &[&str], map: &[&str]) -> OpenOptions {
    let all = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect();
    let prefix = prefix.map(ToOwned::to_owned);
    let select = Selection { prefix, ignore: all(ignore), map: all(map) };
    OpenOptions { select, ..OpenOptions::default() }
}

#[test]
fn the_archives_of_these_tests_are_pytorchs_own_byte_for_byte() {
    use std::io::Read as _;
    let path = golden("checkpoints/misc_zip.pth");
    let bytes = std::fs::read(&path).unwrap();
    let offset = zip::read::Config { archive_offset: zip::read::ArchiveOffset::Known(0) };
    let mut zip =
        zip::ZipArchive::with_config(offset, std::io::Cursor::new(bytes.as_slice())).unwrap();
    let mut files = Vec::new();
    for i in 0..zip.len() {
        let mut entry = zip.by_index(i).unwrap();
        let name = entry.name().unwrap().strip_prefix("misc_zip/").unwrap().to_owned();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        files.push((name, content));
    }
    assert!(files.len() > 10);
    assert!(torch::archive("misc_zip", &files) == bytes);
}

#[test]
fn a_file_is_read_whatever_its_name_was_when_it_was_saved() {
    let dir = tempfile::tempdir().unwrap();
    let entries = convnet(5);
    for length in 1..=60 {
        // 21 letters: then the first header of the directory is as long as the records after it.
        let stem: String = "vit_small_patch16_224".chars().cycle().take(length).collect();
        let path = dir.path().join(format!("{stem}.pth"));
        std::fs::write(&path, saved(&stem, &entries, None)).unwrap();
        let weights = Weights::read(&path).unwrap_or_else(|e| panic!("{length}: {e}"));
        assert!(values(&weights.tensors) == expected(&entries), "{length}");
        assert_eq!(weights.network().unwrap().name, "convnet");
    }
}

#[test]
fn whatever_lies_beside_the_weights_is_passed_over() {
    for name in ["beside_zip.pth", "beside_legacy.pth"] {
        let path = reference(name);
        let weights = Weights::read(&path).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(weights.prefix, "model.module._orig_mod.");
        assert!(values(&weights.tensors) == expected(&convnet(5)), "{name}");
        assert!(weights.unread.is_empty(), "{:?}", weights.unread);
        // What is data beside it is there, and what isn't, isn't.
        let beside: Vec<&str> = weights.beside.keys().map(String::as_str).collect();
        assert!(beside.contains(&"counts.a.0"), "{beside:?}");
        assert!(beside.contains(&"optimizer.state.0.exp_avg"), "{beside:?}");
        for absent in ["complex", "sparse", "quantised", "config.weights"] {
            assert!(!beside.contains(&absent), "{beside:?}");
        }
        let loaded = opened(&path);
        assert!(state(&loaded.backbone) == expected(&convnet(5)), "{name}");
        assert!(loaded.remarks.is_empty(), "{:?}", loaded.remarks);
    }
    // Named only where the network needs it.
    let message = refused(&reference("quantised.pth"));
    assert!(message.contains("1 missing (blocks.1.conv.weight)"), "{message}");
    assert!(
        message.contains(
            "blocks.1.conv.weight is torch._utils._rebuild_qtensor, which retort doesn't read"
        ),
        "{message}"
    );
    let message = refused(&reference("wrapped.pth"));
    assert!(
        message.contains("it holds no tensors, but objects that only their authors'"),
        "{message}"
    );
    assert!(message.contains("model is models.wrapper.Wrapper"), "{message}");
    assert!(!message.contains("another copy"), "{message}");
}

#[test]
fn a_value_that_holds_itself_ends_and_one_of_many_names_has_them_all() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.pth");
    // `x = {}; x["self"] = x; x["n"] = [x, x]` beside the state.
    let knot =
        [&b"}q\x01("[..], &torch::text("self"), b"h\x01", &torch::text("n"), b"](h\x01h\x01eu"]
            .concat();
    std::fs::write(&path, saved("x", &convnet(5), Some(("model", knot)))).unwrap();
    assert!(state(&opened(&path).backbone) == expected(&convnet(5)));
    // Doubled forty times, it would be looked at for ever.
    let mut bomb = [b"}(".to_vec(), torch::text("a"), b"Nuq\x01".to_vec()].concat();
    for _ in 0..40 {
        bomb.extend(b"h\x01h\x01\x86q\x01");
    }
    let bomb = torch::tuple(&[bomb]);
    std::fs::write(&path, saved("x", &convnet(5), Some(("model", bomb)))).unwrap();
    let message = refused(&path);
    assert!(message.contains("it holds the same values too often"), "{message}");
    // A list that a thousand calls copy.
    let list = [&b"]("[..], &b"N".repeat(5000), b"eq\x02"].concat();
    let calls = b"c__builtin__\nlist\nh\x02\x85R".repeat(1000);
    let copies = torch::tuple(&[list, calls]);
    std::fs::write(&path, saved("x", &convnet(5), Some(("model", copies)))).unwrap();
    let message = refused(&path);
    assert!(message.contains("its calls copy more than 4000000 values"), "{message}");
    // A key too long for a tensor's name, with none behind it.
    let long = torch::dict(&[(torch::text(&"k".repeat(300)), torch::int(1))]);
    std::fs::write(&path, saved("x", &convnet(5), Some(("model", long)))).unwrap();
    assert!(state(&opened(&path).backbone) == expected(&convnet(5)));
    let tensor = torch::tensor(0, "FloatStorage", &[1]);
    let tied = torch::dict(&[
        (torch::text("a"), [&tensor[..], b"q\x05"].concat()),
        (torch::text("b"), b"h\x05".to_vec()),
    ]);
    std::fs::write(&path, saved("x", &convnet(5), Some(("model", tied)))).unwrap();
    let weights = Weights::read(&path).unwrap();
    assert!(weights.beside.contains_key("beside.a") && weights.beside.contains_key("beside.b"));
}

#[test]
fn a_package_with_the_name_of_a_module_of_pythons_is_no_program() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.pth");
    let object = |class: &str| format!("c{class}\n)R").into_bytes();
    for class in ["code\nNet", "code.models\nNet", "commands.train\nArgs", "http\nHTTPStatus"] {
        std::fs::write(&path, saved("code", &convnet(5), Some(("model", object(class))))).unwrap();
        assert!(state(&opened(&path).backbone) == expected(&convnet(5)), "{class}");
    }
    for class in ["code\ninteract", "os\nsystem", "builtins\neval", "commands\ngetoutput"] {
        std::fs::write(&path, saved("x", &convnet(5), Some(("model", object(class))))).unwrap();
        let message = refused(&path);
        assert!(message.contains("it asks to call"), "{class:?}: {message}");
        assert!(!message.contains("isn't a whole"), "{message}");
    }
}

#[test]
fn the_network_is_found_behind_any_prefix() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.pth");
    for prefix in [
        "",
        "_orig_mod.",
        "module._orig_mod.",
        "net.",
        "student.",
        "encoder_q.",
        "module.encoder_q.",
        "state_dict_ema.",
        "state_dict_ema.module.student.backbone._orig_mod.",
        "0.",
    ] {
        let entries = renamed(convnet(5), |key| format!("{prefix}{key}"));
        std::fs::write(&path, saved("x", &entries, None)).unwrap();
        assert_eq!(Weights::read(&path).unwrap().prefix, prefix);
        assert!(state(&opened(&path).backbone) == expected(&convnet(5)), "{prefix}");
    }
}

/// Two networks with other numbers, and a layer beside them.
fn two() -> Vec<Entry> {
    let mut entries = renamed(convnet(5), |key| format!("student.backbone.{key}"));
    let other = convnet(5).into_iter().map(|entry| Entry {
        key: format!("teacher.backbone.{}", entry.key),
        values: entry.values.iter().map(|v| -v).collect(),
        ..entry
    });
    entries.extend(other);
    entries.push(Entry::new("center", &[1, 7]));
    entries
}

#[test]
fn of_several_networks_one_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.pth");
    std::fs::write(&path, saved("x", &two(), None)).unwrap();
    let message = refused(&path);
    assert!(
        message.contains(
            "it holds several networks: convnet behind student.backbone., convnet behind \
             teacher.backbone.: choose one with --prefix"
        ),
        "{message}"
    );
    let weights = Weights::read(&path).unwrap();
    assert!(matches!(weights.network(), Err(NoNetwork::Several(all)) if all.len() == 2));
    // Named in part or whole, with a point or without; or by leaving out the other.
    for options in [
        picked(Some("teacher"), &[], &[]),
        picked(Some("teacher."), &[], &[]),
        picked(Some("teacher.backbone"), &[], &[]),
        picked(None, &["student.*"], &[]),
    ] {
        let loaded = open(&path, &options).unwrap();
        let negated =
            |(key, values): (String, Vec<f32>)| (key, values.iter().map(|v| -v).collect());
        let want: BTreeMap<String, Vec<f32>> =
            expected(&convnet(5)).into_iter().map(negated).collect();
        assert!(state(&loaded.backbone) == want, "{options:?}");
    }
    let message = open(&path, &picked(Some("teachr"), &[], &[])).unwrap_err();
    assert!(message.contains("none of its keys is behind the prefix teachr."), "{message}");
    assert!(message.contains("there are student.backbone., teacher.backbone."), "{message}");
    let message = open(&path, &picked(None, &["studnt.*"], &[])).unwrap_err();
    assert!(message.contains("it has no key studnt.*, which is to be ignored"), "{message}");
}

#[test]
fn an_embedding_layer_is_taken_or_named_and_never_made_up() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.pth");
    let write = |name: &dyn Fn(&str) -> String| {
        std::fs::write(&path, saved("x", &renamed(convnet(5), name), None)).unwrap();
    };
    let all = expected(&convnet(5));
    // Beside the prefix of the rest, and called what it is.
    for outer in ["", "module.", "state_dict.module."] {
        write(&|key: &str| {
            let inner = if key.starts_with("embedding.") { "" } else { "backbone." };
            format!("{outer}{inner}{key}")
        });
        let loaded = opened(&path);
        assert_eq!(loaded.network.embedding, 5);
        assert!(state(&loaded.backbone) == all, "{outer}");
    }
    // Called something else: behind the prefix, or beside it.
    for (inner, layer) in
        [("", "fc"), ("", "head"), ("net.", "fc"), ("backbone.", "head"), ("m.", "a.b")]
    {
        for beside in [false, true] {
            let here = if beside { "" } else { inner };
            write(&|key: &str| match key.strip_prefix("embedding.") {
                Some(part) => format!("{here}{layer}.{part}"),
                None => format!("{inner}{key}"),
            });
            let message = refused(&path);
            assert!(message.contains("missing (embedding.weight, embedding.bias)"), "{message}");
            let advice = format!("--map '{layer}=embedding' takes its layer of 5 outputs");
            assert!(message.contains(&advice), "{message}");
            assert!(message.contains("--allow-missing 'embedding.*'"), "{message}");
            let map = format!("{layer}=embedding");
            let loaded = open(&path, &picked(None, &[], &[&map])).unwrap();
            assert!(state(&loaded.backbone) == all, "{inner} {layer} {beside}");
        }
    }
    // A row of layers is none that could be taken.
    let mut row = renamed(convnet(5), |key| key.replace("embedding.", "head.0."));
    row.push(Entry::new("head.2.weight", &[4, 6]));
    std::fs::write(&path, saved("x", &row, None)).unwrap();
    let message = refused(&path);
    assert!(
        message.contains("that is one linear layer (head.0.weight, head.2.weight aren't)"),
        "{message}"
    );
    assert!(!message.contains("--map"), "{message}");
    // A linear layer without a bias has one of zeros.
    let bare: Vec<Entry> = convnet(5).into_iter().filter(|e| e.key != "embedding.bias").collect();
    std::fs::write(&path, saved("x", &bare, None)).unwrap();
    let loaded = opened(&path);
    assert!(state(&loaded.backbone)["embedding.bias"] == vec![0.0; 5]);
    assert_eq!(loaded.remarks, ["its embedding layer has no bias, which is one of zeros"]);
    // Renamings that can't be meant.
    std::fs::write(&path, saved("x", &two()[..22], None)).unwrap();
    for (map, says) in [
        ("head=embedding", "it has no layer head, neither behind student.backbone. nor beside it"),
        ("head", "\"head\" is no renaming of a layer"),
        ("blocks.0=blocks.1", "two of its tensors would have the key blocks.1."),
    ] {
        let message = open(&path, &picked(None, &[], &[map])).unwrap_err();
        assert!(message.contains(says), "{message}");
    }
}

#[test]
fn a_training_starts_from_an_embedding_layer_that_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.pth");
    let device = cpu().inner();
    let network =
        |embedding| NetworkConfig { embedding, ..NetworkConfig::default().with("width", 2) };
    let start = |embedding, options: &OpenOptions| {
        let started = checkpoint::start(&path, &network(embedding), options, &device);
        started.map_err(|e| Failure::from(e).message)
    };
    let name = |layer: &'static str| {
        move |key: &str| match key.strip_prefix("embedding.") {
            Some(part) => format!("{layer}.{part}"),
            None => format!("backbone.{key}"),
        }
    };
    std::fs::write(&path, saved("x", &renamed(convnet(5), name("embedding")), None)).unwrap();
    let (net, remarks) = start(5, &OpenOptions::default()).unwrap();
    assert!(state(&net) == expected(&convnet(5)) && remarks.is_empty());
    // Another layer of this size: not thrown away without a word.
    std::fs::write(&path, saved("x", &renamed(convnet(5), name("head")), None)).unwrap();
    let message = start(5, &OpenOptions::default()).unwrap_err();
    assert!(message.contains("--map 'head=embedding' takes its layer of 5 outputs"), "{message}");
    let (net, _) = start(5, &picked(None, &[], &["head=embedding"])).unwrap();
    assert!(state(&net) == expected(&convnet(5)));
    let afresh =
        OpenOptions { allow_missing: vec!["embedding.*".to_owned()], ..OpenOptions::default() };
    let (net, remarks) = start(5, &afresh).unwrap();
    assert!(state(&net)["embedding.weight"] != expected(&convnet(5))["embedding.weight"]);
    assert_eq!(remarks, ["it has no embedding layer, which starts afresh"]);
    // A classifier's layer of another size is a classifier's.
    let (net, remarks) = start(7, &OpenOptions::default()).unwrap();
    assert_eq!(state(&net)["embedding.bias"].len(), 7);
    assert_eq!(remarks, ["it has no embedding layer, which starts afresh"]);
}

#[test]
fn what_the_network_lacks_can_be_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.pth");
    let mut entries = convnet(5);
    entries.push(Entry::new("projector.0.weight", &[9, 9]));
    entries.push(Entry::new("temperature", &[1]));
    std::fs::write(&path, saved("x", &entries, None)).unwrap();
    let message = refused(&path);
    let advice = "--ignore 'projector.*' --ignore 'temperature' leaves out what the network lacks";
    assert!(message.contains("2 unexpected (projector.0.weight, temperature)"), "{message}");
    assert!(message.contains(advice), "{message}");
    let loaded = open(&path, &picked(None, &["projector.*", "temperature"], &[])).unwrap();
    assert!(state(&loaded.backbone) == expected(&convnet(5)));
    // What belongs to its own layers makes it another network.
    let mut entries = convnet(5);
    entries.push(Entry::new("blocks.0.gate.weight", &[2, 2]));
    std::fs::write(&path, saved("x", &entries, None)).unwrap();
    let message = refused(&path);
    assert!(message.contains("a network like this one with more in its layers"), "{message}");
    assert!(!message.contains("--ignore"), "{message}");
}

/// Position embeddings of other sizes, against PyTorch's own `interpolate`.
#[test]
fn position_embeddings_are_resampled_as_timm_does() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vit.safetensors");
    let device = cpu().inner();
    let config =
        NetworkConfig { name: "vit_small".to_owned(), embedding: 4, ..NetworkConfig::default() };
    let net = Backbone::new(&config, 3, &device).unwrap();
    let mut full = checkpoint::state_dict(&net).unwrap();
    for case in json(&reference("positions.json")).as_array().unwrap() {
        let grid = case["grid"].as_u64().unwrap() as usize;
        let want: Vec<f64> =
            case["values"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
        let tokens = 1 + grid * grid;
        let values: Vec<f32> = (0..tokens * 384)
            .map(|j| {
                if j % 384 < 3 {
                    (0.37 * ((j / 384) * 3 + j % 384) as f64).sin() as f32
                } else {
                    0.5
                }
            })
            .collect();
        full.insert("pos_embed".to_owned(), TensorData::new(values, [1, tokens, 384]));
        write(&path, &full);
        let loaded = opened(&path);
        assert_eq!(
            loaded.remarks,
            [format!(
                "its position embeddings of {grid} x {grid} patches were resampled to 14 x 14 (bicubic, \
                 antialiased, as timm does)"
            )]
        );
        let got = &state(&loaded.backbone)["pos_embed"];
        let worst = got.iter().enumerate().map(|(j, got)| {
            let want = if j % 384 < 3 { want[(j / 384) * 3 + j % 384] } else { 0.5 };
            (f64::from(*got) - want).abs()
        });
        let worst = worst.fold(0.0, f64::max);
        println!("{grid}: {worst:.1e}");
        assert!(worst < 2e-6, "{grid}: {worst:e}");
    }
    // A number of patches that is no square's is no such thing.
    full.insert("pos_embed".to_owned(), TensorData::zeros::<f32, _>([1, 1 + 13 * 15, 384]));
    write(&path, &full);
    let message = refused(&path);
    assert!(message.contains("pos_embed is [1, 196, 384], not [1, 197, 384]"), "{message}");
}

fn write(path: &Path, state: &BTreeMap<String, TensorData>) {
    let views = state.iter().map(|(key, data)| {
        assert_eq!(data.dtype(), DType::F32);
        let shape = data.shape().to_vec();
        let view =
            safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape, data.as_bytes());
        (key.as_str(), view.unwrap())
    });
    std::fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

/// Zeros with these keys and shapes, of which one may repeat with the numbers 0 to n - 1 for `#`.
fn zeros(path: &Path, tensors: &[(&str, &[usize])]) {
    let state = tensors
        .iter()
        .map(|(key, shape)| ((*key).to_owned(), TensorData::zeros::<f32, _>(shape.to_vec())));
    write(path, &state.collect());
}

#[test]
fn relatives_of_a_network_are_named_for_what_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.safetensors");
    let blocks = |counts: [usize; 4], convolutions: usize| {
        let mut keys = Vec::new();
        for (stage, count) in counts.into_iter().enumerate() {
            for i in 0..count {
                for c in 1..=convolutions {
                    keys.push(format!("layer{}.{i}.conv{c}.weight", stage + 1));
                }
            }
        }
        keys
    };
    let stem: (&str, &[usize]) = ("conv1.weight", &[64, 3, 7, 7]);
    let narrow: (&str, &[usize]) = ("layer1.0.conv2.weight", &[64, 64, 3, 3]);
    let named = |counts, convolutions, extra: &[(&str, &[usize])]| {
        let keys = blocks(counts, convolutions);
        let mut all: Vec<(&str, &[usize])> = keys.iter().map(|k| (k.as_str(), &[1][..])).collect();
        all.retain(|(key, _)| extra.iter().all(|(other, _)| other != key));
        all.extend(extra);
        zeros(&path, &all);
        refused(&path)
    };
    let r50 = [3, 4, 6, 3];
    for (message, says) in [
        (
            named(r50, 3, &[stem, ("layer1.0.conv2.weight", &[128, 4, 3, 3])]),
            "a ResNeXt-50 (32x4d)",
        ),
        (
            named([3, 4, 23, 3], 3, &[stem, ("layer1.0.conv2.weight", &[256, 8, 3, 3])]),
            "a ResNeXt-101 (32x8d)",
        ),
        (
            named(r50, 3, &[stem, ("layer1.0.conv2.weight", &[128, 128, 3, 3])]),
            "a wide ResNet-50 with 128 channels in place of 64",
        ),
        (
            named(
                r50,
                3,
                &[
                    ("conv1.0.weight", &[32, 3, 3, 3]),
                    narrow,
                    ("layer2.0.downsample.1.weight", &[2, 2, 1, 1]),
                ],
            ),
            "a ResNet-50 with three convolutions at its beginning (ResNet-C or -D)",
        ),
        (
            named(r50, 3, &[stem, narrow, ("layer1.0.se.fc1.weight", &[2, 2, 1, 1])]),
            "a ResNet-50 with squeeze and excitation",
        ),
        (
            named(
                [2, 2, 2, 2],
                2,
                &[("conv1.weight", &[64, 3, 3, 3]), ("layer1.0.conv1.weight", &[64, 64, 3, 3])],
            ),
            "a ResNet-18 with a first convolution for small pictures",
        ),
        (named([3, 8, 36, 3], 3, &[stem, narrow]), "a ResNet-152"),
        (
            named([0, 0, 0, 0], 2, &[("patch_embed.proj.weight", &[384, 3, 14, 14])]),
            "a vision transformer of 0 blocks of width 384 for patches of 14 pixels",
        ),
        (
            named(
                [0, 0, 0, 0],
                2,
                &[("vit.encoder.layer.0.attention.attention.query.weight", &[4, 4])],
            ),
            "a network of Hugging Face's transformers",
        ),
    ] {
        assert!(message.contains(&format!("it is {says}")), "{message}");
        assert!(message.contains("which retort doesn't have"), "{message}");
        assert!(!message.contains("--model"), "{message}");
    }
    // The networks themselves are none of these.
    let message = named(r50, 3, &[stem, narrow, ("layer2.0.downsample.1.weight", &[2])]);
    assert!(message.contains("for resnet50 with an embedding"), "{message}");
}

#[test]
fn what_is_no_checkpoint_is_named_for_what_it_is() {
    use std::io::Write as _;
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let zip = |names: &[&str]| {
        let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        for name in names {
            zip.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
            zip.write_all(b"x").unwrap();
        }
        zip.finish().unwrap().into_inner()
    };
    let tar = {
        let mut head = vec![0; 1536];
        head[..9].copy_from_slice(b"model.pth");
        head[100..108].copy_from_slice(b"0000644\0");
        head[124..136].copy_from_slice(b"00000000000\0");
        head[136..148].copy_from_slice(b"00000000000\0");
        head[148..156].copy_from_slice(b"        ");
        head[156] = b'0';
        head[257..263].copy_from_slice(b"ustar\0");
        let sum: u32 = head.iter().map(|&b| u32::from(b)).sum();
        head[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        head
    };
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&tar).unwrap();
    let gzip = gzip.finish().unwrap();
    for (name, bytes, says) in [
        ("a.onnx", b"\x08\x07\x12\x07pytorch\x1a\x052.1.0:".to_vec(), "it is an ONNX file"),
        ("a.pth", b"\x08\x07\x12\x07pytorch\x1a\x052.1.0:".to_vec(), "it is an ONNX file"),
        ("a.h5", b"\x89HDF\r\n\x1a\n\0\0\0\0".to_vec(), "it is an HDF5 file"),
        ("a.npy", b"\x93NUMPY\x01\0v\0{'descr'".to_vec(), "it is one array of NumPy"),
        ("a.npz", zip(&["a.npy", "b.npy"]), "it is a bundle of NumPy's arrays (.npz)"),
        ("a.keras", zip(&["config.json", "model.weights.h5"]), "it is a file of Keras"),
        ("a.zip", zip(&["model.pth"]), "it is a zip without a data.pkl of one file (model.pth)"),
        ("a.gguf", b"GGUF\x03\0\0\0".to_vec(), "it is a file of llama.cpp (GGUF)"),
        ("a.tar.gz", gzip.clone(), "it is packed with gzip"),
        ("b.pth", gzip, "it is packed with gzip"),
        ("a.tar", tar, "it is a tar archive of one file (model.pth)"),
        ("a.tflite", b"\x1c\0\0\0TFL3".to_vec(), "it is a file of TensorFlow"),
        ("a.json", b"{\"a\": 1}".to_vec(), "it is no index of weights"),
        ("c.pth", b"{\"a\": 1}".to_vec(), "it is a text in JSON"),
        ("a.html.pth", b"<!DOCTYPE html>".to_vec(), "it is a web page"),
        (
            "d.pth",
            b"version https://git-lfs.github.com/spec/v1".to_vec(),
            "it is a pointer of Git LFS",
        ),
        (
            "e.pth",
            b"nothing of the kind".to_vec(),
            "it is neither a file of PyTorch nor of safetensors",
        ),
    ] {
        std::fs::write(at(name), bytes).unwrap();
        let message = refused(&at(name));
        assert!(message.contains(says), "{name}: {message}");
        assert_eq!(name == "e.pth", message.contains("another copy"), "{name}: {message}");
    }
}

#[test]
fn weights_in_several_files_are_read_by_their_index() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let entries = renamed(convnet(5), |key| format!("model.{key}"));
    let (first, second) = entries.split_at(9);
    let data = |entries: &[Entry]| -> BTreeMap<String, TensorData> {
        let data = |e: &Entry| (e.key.clone(), TensorData::new(e.values.clone(), e.shape.clone()));
        entries.iter().map(data).collect()
    };
    let index = |files: &dyn Fn(usize) -> &'static str| {
        let map: serde_json::Map<_, _> = entries
            .iter()
            .enumerate()
            .map(|(i, entry)| (entry.key.clone(), files(i).into()))
            .collect();
        serde_json::json!({"metadata": {"total_size": 1}, "weight_map": map}).to_string()
    };
    let half = |i: usize| {
        if i < 9 { "model-00001-of-00002.safetensors" } else { "model-00002-of-00002.safetensors" }
    };
    write(&at("model-00001-of-00002.safetensors"), &data(first));
    write(&at("model-00002-of-00002.safetensors"), &data(second));
    let path = at("model.safetensors.index.json");
    std::fs::write(&path, index(&half)).unwrap();
    assert!(state(&opened(&path).backbone) == expected(&convnet(5)));
    assert_eq!(checkpoint::files_of(&path).len(), 3);
    // The folder of it, as Hugging Face has it.
    assert_eq!(checkpoint::weights_in(dir.path()).as_deref(), Some(path.as_path()));

    // PyTorch's files in the same way.
    std::fs::write(at("pytorch_model-00001-of-00002.bin"), saved("archive", first, None)).unwrap();
    std::fs::write(at("pytorch_model-00002-of-00002.bin"), saved("archive", second, None)).unwrap();
    let bin = |i: usize| {
        if i < 9 { "pytorch_model-00001-of-00002.bin" } else { "pytorch_model-00002-of-00002.bin" }
    };
    std::fs::write(&path, index(&bin)).unwrap();
    assert!(state(&opened(&path).backbone) == expected(&convnet(5)));

    for (file, says) in [
        (
            "../model-00001-of-00002.safetensors",
            "lies in \"../model-00001-of-00002.safetensors\", which is no file",
        ),
        ("/etc/passwd", "which is no file beside it"),
        ("..", "which is no file beside it"),
        ("model-00003.safetensors", "model-00003.safetensors beside it: No such file"),
        (
            "model.safetensors.index.json",
            "model.safetensors.index.json beside it: it is a text in JSON",
        ),
        (
            "model-00002-of-00002.safetensors",
            "model.blocks.0.bn.bias lies in model-00002-of-00002.safetensors, which has no such tensor",
        ),
    ] {
        std::fs::write(&path, index(&|_| file)).unwrap();
        let message = refused(&path);
        assert!(message.contains(says), "{message}");
    }
}
