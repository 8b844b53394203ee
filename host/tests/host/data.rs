//! `retort data` as a user types it, and trainings on folders with damaged pictures.

use crate::program::retort;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Output;

fn json(output: &Output, code: i32) -> Value {
    assert_eq!(output.status.code(), Some(code), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The last line of a failed command's messages.
fn error(output: &Output, code: i32) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert!(!text.contains("panicked at"), "{text}");
    text.lines().rfind(|line| line.starts_with("error: ")).unwrap_or(&text).to_owned()
}

fn golden() -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let golden = std::env::var_os("RETORT_GOLDEN")
        .map_or_else(|| workspace.join("../shared/golden"), |golden| workspace.join(golden));
    assert!(golden.is_dir(), "{} is missing; set RETORT_GOLDEN", golden.display());
    golden
}

/// Four classes with six pictures each, no two alike; from the test pictures of the data sets' crate.
fn folder(root: &Path) {
    let pixmap = |red: u8, seed: usize| {
        let pixels = (0..40 * 30).flat_map(|i| [red, (i * seed % 251) as u8, (i % 40) as u8]);
        [b"P6 40 30 255\n".to_vec(), pixels.collect()].concat()
    };
    for (class, name) in ["ant", "bee", "cat", "dog"].into_iter().enumerate() {
        std::fs::create_dir_all(root.join(name)).unwrap();
        for i in 0..6 {
            let picture = pixmap(60 * class as u8, 7 + 10 * class + i);
            std::fs::write(root.join(name).join(format!("{i}.ppm")), picture).unwrap();
        }
    }
}

#[test]
fn every_data_set_is_listed() {
    let dir = tempfile::tempdir().unwrap();
    let listed = json(&retort(&["data", "list", "--json"], dir.path()), 0);
    let text = String::from_utf8(retort(&["data", "list"], dir.path()).stdout).unwrap();
    for entry in retort_datasets::DATASETS {
        let found = listed["datasets"].as_array().unwrap().iter().find(|d| d["name"] == entry.name);
        assert_eq!(found.unwrap()["doc"], entry.doc);
        assert!(text.contains(entry.name) && text.contains(entry.doc));
    }
}

#[test]
fn info_counts_what_the_reference_counts() {
    let golden = golden();
    let text = std::fs::read_to_string(golden.join("datasets.json")).unwrap();
    let expected: Value = serde_json::from_str(&text).unwrap();
    let root = golden.join(expected["root"].as_str().unwrap()).display().to_string();
    for (name, splits) in expected["datasets"].as_object().unwrap() {
        let name = name.to_lowercase();
        let args = ["data", "info", &name, "--data-root", &root, "--json"];
        let info = json(&retort(&args, &golden), 0);
        assert_eq!(info["missing"].as_array().unwrap().len(), 0);
        for (found, split) in info["splits"].as_array().unwrap().iter().zip(["train", "eval"]) {
            assert_eq!(found["samples"], splits[split]["samples"], "{name} {split}");
            assert_eq!(found["classes"], splits[split]["distinct_labels"], "{name} {split}");
        }
    }
}

#[test]
fn a_preview_is_a_picture() {
    let dir = tempfile::tempdir().unwrap();
    let args = ["data", "info", "glyphs", "--set=classes=8", "--set=images=4", "--preview=a.png"];
    let output = retort(&args, dir.path());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("train") && text.contains("16") && text.contains('4'), "{text}");
    let sheet = std::fs::read(dir.path().join("a.png")).unwrap();
    let sheet = retort_datasets::Image::decode(&sheet, "a.png").unwrap();
    assert!(sheet.width > 1000 && sheet.pixels.iter().any(|&value| value < 200));

    // A link in its place is replaced, not followed.
    #[cfg(unix)]
    {
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("mine"), "mine").unwrap();
        std::fs::remove_file(at("a.png")).unwrap();
        std::os::unix::fs::symlink(at("mine"), at("a.png")).unwrap();
        assert!(retort(&args, dir.path()).status.success());
        assert_eq!(std::fs::read_to_string(at("mine")).unwrap(), "mine");
        assert!(std::fs::read(at("a.png")).unwrap().starts_with(b"\x89PNG"));
    }
}

#[test]
fn a_check_names_what_is_broken_and_what_leaks() {
    let dir = tempfile::tempdir().unwrap();
    folder(dir.path());
    let args = ["data", "check", "folder", "--data-root", ".", "--json"];
    let clean = json(&retort(&args, dir.path()), 0);
    assert_eq!(clean["read"], 24);
    assert_eq!(clean["shorter_side"]["0001-0063"], 24);

    std::fs::copy(dir.path().join("ant/0.ppm"), dir.path().join("dog/twin.ppm")).unwrap();
    std::fs::write(dir.path().join("bee/1.ppm"), b"P6 40 30 255\nshort").unwrap();
    std::fs::write(dir.path().join("cat/2.jpg"), b"\xff\xd8\xff\xe0 is no picture").unwrap();
    let found = json(&retort(&args, dir.path()), 1);
    let broken: Vec<&str> =
        found["broken"].as_array().unwrap().iter().map(|b| b["file"].as_str().unwrap()).collect();
    assert_eq!(broken, ["./bee/1.ppm", "./cat/2.jpg"]);
    let leak = &found["in_two_splits"][0];
    assert_eq!(
        (&leak[0]["file"], &leak[1]["file"]),
        (&"./ant/0.ppm".into(), &"./dog/twin.ppm".into())
    );
    let output = retort(&args[..5], dir.path());
    let message = error(&output, 1);
    assert!(
        message.contains("2 pictures can't be read, 1 are in more than one split"),
        "{message}"
    );
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("broken (train): ./bee/1.ppm: "), "{text}");
    assert!(text.contains("in two splits: ./ant/0.ppm (train), ./dog/twin.ppm (test)"), "{text}");
}

#[test]
fn wrong_input_gets_one_sentence_and_a_way_out() {
    let dir = tempfile::tempdir().unwrap();
    folder(dir.path());
    std::fs::write(dir.path().join("cars_annos.mat"), b"MATLAB 5.0 MAT-file, or what is left")
        .unwrap();
    let cases: &[(&[&str], i32, &[&str])] = &[
        (&["info", "cup"], 2, &["no data set \"cup\"", "did you mean cub?"]),
        (&["info", "cub"], 1, &["no folder was given", "CUB_200_2011"]),
        (&["check", "sop", "--data-root=nowhere"], 2, &["nowhere", "no such folder"]),
        (&["info", "cub", "--data-root=."], 1, &["holds images", "CUB_200_2011.tgz"]),
        (&["info", "cars", "--data-root=."], 1, &["cars_annos.mat", "shorter than a header"]),
        (&["info", "glyphs", "--data-root=."], 1, &["data-root", "is generated"]),
        (
            &["info", "cub", "--data-root=.", "--set=classes=9"],
            2,
            &["data: cub has no options, so none is named classes"],
        ),
        (
            &["info", "folder", "--data-root=.", "--set=train_classes=cow"],
            1,
            &["there is no class \"cow\""],
        ),
        (&["info", "folder", "--data-root=.", "--set=train_clases=cow"], 2, &["train_clases"]),
        (&["info", "glyphs", "--set=cache=lots"], 2, &["cache = lots", "8GiB"]),
        (&["info", "glyphs", "--set=on_corrupt=shrug"], 2, &["on_corrupt", "shrug"]),
        (&["info", "glyphs", "--preview=no/such/a.png"], 1, &["no/such/a.png"]),
    ];
    for (args, code, parts) in cases {
        let message = error(&retort(&[&["data"], *args].concat(), dir.path()), *code);
        for part in *parts {
            assert!(message.contains(part), "{args:?}: {message}");
        }
    }
    std::fs::remove_file(dir.path().join("cars_annos.mat")).unwrap();
    let list = "image_id class_id super_class_id path\n1 1 1 a_0.JPG\n";
    std::fs::write(dir.path().join("Ebay_train.txt"), list).unwrap();
    std::fs::write(dir.path().join("Ebay_test.txt"), list.replace("1 1 1", "1 12000 1")).unwrap();
    let output = retort(&["data", "info", "sop", "--data-root=."], dir.path());
    let message = error(&output, 1);
    assert!(message.contains("2 pictures of sop are missing"), "{message}");
    assert!(String::from_utf8(output.stdout).unwrap().contains("./a_0.JPG"));
}

#[test]
fn a_training_ends_at_a_damaged_picture_or_leaves_it_out() {
    let dir = tempfile::tempdir().unwrap();
    let pictures = dir.path().join("pictures");
    folder(&pictures);
    let train = |more: &[&str]| {
        let args = [
            "train",
            "source",
            "--device=cpu",
            "--dataset=folder",
            "--data-root=pictures",
            "--loss=proxy_anchor",
            "--width=4",
            "--embedding=8",
            "--epochs=2",
            "--batch=6",
            "--images-per-class=3",
            "--set=data.size=32",
            "--json",
        ];
        retort(&[&args[..], more].concat(), dir.path())
    };
    for (out, more) in [
        ("--out=plain", &["--set=train.workers=2"][..]),
        ("--out=cached", &["--cache=20kB", "--set=train.workers=0"]),
    ] {
        json(&train(&[&[out], more].concat()), 0);
    }
    let bytes = |run: &str| std::fs::read(dir.path().join(run).join("checkpoint.safetensors"));
    assert!(bytes("plain").unwrap() == bytes("cached").unwrap(), "the cache changes numbers");
    for sampler in ["random", "all_classes"] {
        json(&train(&[&format!("--set=train.sampler={sampler}")]), 0);
    }
    let message = error(&train(&["--set=train.sampler=super_class"]), 1);
    assert!(message.contains("belongs to no super-class"), "{message}");
    let message = error(&train(&["--set=train.sampler=superclass"]), 2);
    assert!(message.contains("super_class"), "{message}");

    std::fs::write(pictures.join("bee/1.ppm"), b"P6 40 30 255\nshort").unwrap();
    std::fs::write(pictures.join("dog/3.ppm"), b"").unwrap();
    let message = error(&train(&["--out=fails"]), 1);
    assert!(message.contains("pictures/bee/1.ppm"), "{message}");
    let output = train(&["--out=skips", "--set=data.on_corrupt=skip"]);
    json(&output, 0);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("2 pictures were left out"), "{text}");
    let summary = std::fs::read_to_string(dir.path().join("skips/summary.json")).unwrap();
    let summary: Value = serde_json::from_str(&summary).unwrap();
    assert_eq!(summary["pictures_left_out"], 2);
    let output = retort(&["evaluate", "skips", "--device=cpu", "--json"], dir.path());
    let evaluated = json(&output, 0);
    assert_eq!((&evaluated["samples"], &evaluated["pictures_left_out"]), (&12.into(), &1.into()));
}

/// A small training on pictures in a folder.
fn train(dir: &Path, more: &[&str]) -> Output {
    let args = [
        "train",
        "source",
        "--device=cpu",
        "--dataset=folder",
        "--data-root=pictures",
        "--loss=proxy_anchor",
        "--width=4",
        "--embedding=8",
        "--epochs=1",
        "--batch=6",
        "--images-per-class=3",
        "--set=data.size=32",
        "--json",
    ];
    retort(&[&args[..], more].concat(), dir)
}

#[test]
fn evaluations_and_embeddings_leave_damaged_pictures_out_too() {
    let dir = tempfile::tempdir().unwrap();
    let pictures = dir.path().join("pictures");
    folder(&pictures);
    json(&train(dir.path(), &["--out=plain"]), 0);
    std::fs::write(pictures.join("bee/1.ppm"), b"P6 40 30 255\nshort").unwrap();
    std::fs::write(pictures.join("dog/3.ppm"), b"").unwrap();
    let checkpoint = "--checkpoint=plain/checkpoint.safetensors";
    let data = ["--dataset=folder", "--data-root=pictures", "--set=size=32"];
    let evaluate = ["evaluate", "plain", "--device=cpu", "--json"];
    let message = error(&retort(&evaluate, dir.path()), 1);
    assert!(message.contains("pictures/dog/3.ppm: it is empty"), "{message}");
    let skip = "--on-corrupt=skip";
    let left = json(&retort(&[&evaluate[..], &[skip]].concat(), dir.path()), 0);
    assert_eq!(left["pictures_left_out"], 1);
    let embed = |more: &[&str]| {
        let all = ["embed", checkpoint, "--device=cpu", "--out=e.safetensors", "--json"];
        retort(&[&all[..], more].concat(), dir.path())
    };
    let message = error(&embed(&data), 1);
    assert!(message.contains("pictures/dog/3.ppm: it is empty"), "{message}");
    assert!(!dir.path().join("e.safetensors").exists());
    for batch in ["--batch=1", "--batch=5"] {
        let out = json(&embed(&[&data[..], &[skip, batch]].concat()), 0);
        assert_eq!((&out["pictures"], &out["pictures_left_out"]), (&11.into(), &1.into()));
        assert_eq!(out["tensors"]["embeddings"], serde_json::json!([11, 8]));
        let bytes = std::fs::read(dir.path().join("e.safetensors")).unwrap();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let ids = file.tensor("ids").unwrap();
        let ids = ids.data().as_chunks().0.iter().map(|b| i64::from_le_bytes(*b));
        assert!(ids.eq([0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11]));
    }
    // Numbers of neighbours are the data set's.
    let search = ["search", "--run=plain/checkpoint.safetensors", "--device=cpu", "--json"];
    let search = [&search[..], &["--embeddings=e.safetensors", "--sample=10", "--top=10"]].concat();
    let found = json(&retort(&search, dir.path()), 0);
    let mut samples: Vec<u64> = (found["neighbours"].as_array().unwrap().iter())
        .map(|neighbour| neighbour["sample"].as_u64().unwrap())
        .collect();
    samples.sort_unstable();
    assert_eq!(samples, [0, 1, 2, 3, 4, 5, 6, 7, 8, 11]);
    // Loose pictures, too.
    let message = error(&embed(&["--input=pictures"]), 1);
    assert!(message.contains("pictures/bee/1.ppm"), "{message}");
    let out = json(&embed(&["--input=pictures", skip]), 0);
    assert_eq!((&out["pictures"], &out["pictures_left_out"]), (&22.into(), &2.into()));
    let bytes = std::fs::read(dir.path().join("e.safetensors")).unwrap();
    let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    let about: Value =
        serde_json::from_str(&header.metadata().as_ref().unwrap()["retort"]).unwrap();
    let files = about["files"].as_array().unwrap();
    assert_eq!(
        (files.len(), &files[6], &files[7]),
        (22, &"pictures/bee/0.ppm".into(), &"pictures/bee/2.ppm".into())
    );
    std::fs::create_dir(dir.path().join("bad")).unwrap();
    std::fs::write(dir.path().join("bad/1.ppm"), b"").unwrap();
    let message = error(&embed(&["--input=bad", skip]), 1);
    assert!(message.contains("no picture to embed that can be read"), "{message}");
}

#[test]
fn damage_that_can_be_read_past_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    for (class, name) in ["ant", "bee", "cat", "dog"].into_iter().enumerate() {
        for i in 0..3 {
            let pixel = |at: usize| ((at * (5 + class) + 9 * i) % 256) as u8;
            let pixels = (0..40 * 40 * 3).map(pixel).collect();
            let image = retort_datasets::Image { width: 40, height: 40, channels: 3, pixels };
            let mut bytes = image.to_jpeg(90).unwrap();
            if i == 1 {
                // Most of the data is missing, before its end.
                let (end, scan) = (bytes.len(), bytes.windows(2).position(|w| w == [0xff, 0xda]));
                let start = scan.unwrap() + 14;
                bytes.drain(start + (end - start) / 20..end - 2);
            }
            let file = dir.path().join("data").join(name).join(format!("{i}.jpg"));
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, bytes).unwrap();
        }
    }
    let data = ["--dataset=folder", "--data-root=data", "--set=data.size=32"];
    let small = ["--loss=proxy_anchor", "--width=4", "--embedding=8", "--epochs=1", "--batch=6"];
    let train = [&["train", "source", "--device=cpu", "--out=run"], &data[..], &small].concat();
    let more = ["--images-per-class=3", "--json", "--set=recall_at=[1]"];
    let output = retort(&[&train[..], &more].concat(), dir.path());
    json(&output, 0);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("4 pictures are damaged and were read as far as they can be"), "{said}");
    let summary = std::fs::read_to_string(dir.path().join("run/summary.json")).unwrap();
    let summary: Value = serde_json::from_str(&summary).unwrap();
    let counts = (&summary["pictures_damaged"], &summary["pictures_left_out"]);
    assert_eq!(counts, (&4.into(), &0.into()));
    let out = json(&retort(&["evaluate", "run", "--k=1", "--device=cpu", "--json"], dir.path()), 0);
    assert_eq!((&out["pictures_damaged"], &out["samples"]), (&2.into(), &6.into()));
    let args = ["data", "check", "folder", "--data-root=data", "--json"];
    let found = json(&retort(&args, dir.path()), 0);
    assert_eq!((&found["read"], found["damaged"].as_array().unwrap().len()), (&12.into(), 4));
}

#[test]
fn nothing_is_measured_where_every_network_would_have_the_same() {
    let dir = tempfile::tempdir().unwrap();
    folder(&dir.path().join("pictures"));
    let train = |more: &[&str]| train(dir.path(), more);
    json(&train(&["--out=run"]), 0);
    let one = "--set=data.train_classes=0.75";
    let message = error(&train(&["--out=one", one]), 1);
    assert!(message.contains("are of one class, so Recall is 100 %"), "{message}");
    assert!(!dir.path().join("one").exists());
    let evaluate = ["evaluate", "run", "--device=cpu", "--json"];
    let message =
        error(&retort(&[&evaluate[..], &["--set=train_classes=0.75"]].concat(), dir.path()), 1);
    assert!(message.contains("are of one class, so Recall is 100 %"), "{message}");
    // No class with two pictures; then, one for queries and one for a gallery.
    for class in ["cat", "dog"] {
        for i in 1..6 {
            std::fs::remove_file(dir.path().join(format!("pictures/{class}/{i}.ppm"))).unwrap();
        }
    }
    let message = error(&train(&["--out=none", "--set=recall_at=[1]"]), 1);
    assert!(message.contains("no class has two samples, so no query can be found"), "{message}");
    let table = "path,label,split\ncat/0.ppm,x,query\ndog/0.ppm,y,gallery\nant/0.ppm,x,gallery\n\
                 bee/0.ppm,z,train\n";
    std::fs::write(dir.path().join("pictures/labels.csv"), table).unwrap();
    let apart = [&evaluate[..], &["--set=labels=labels.csv", "--k=1"]].concat();
    let out = json(&retort(&apart, dir.path()), 0);
    assert_eq!((&out["samples"], &out["gallery"]), (&1.into(), &2.into()));
    std::fs::write(
        dir.path().join("pictures/labels.csv"),
        table.replace("ant/0.ppm,x", "ant/0.ppm,y"),
    )
    .unwrap();
    let message = error(&retort(&apart, dir.path()), 1);
    assert!(message.contains("queries and gallery have no class in common"), "{message}");
}

#[test]
fn pictures_that_a_list_names_and_nobody_has_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    folder(&dir.path().join("pictures"));
    let table: String = ["ant", "bee", "cat", "dog"]
        .iter()
        .flat_map(|class| (0..7).map(move |i| format!("{class}/{i}.ppm,{class}\n")))
        .collect();
    std::fs::write(dir.path().join("pictures/labels.csv"), table).unwrap();
    let listed = ["--set=data.labels=labels.csv", "--out=run"];
    let message = error(&train(dir.path(), &listed), 1);
    assert!(
        message.contains("2 of the 14 pictures that folder lists for its test split are absent")
            && message.contains("pictures/cat/6.ppm"),
        "{message}"
    );
    let skip = [&listed[..], &["--set=data.on_corrupt=skip"]].concat();
    let output = train(dir.path(), &skip);
    json(&output, 0);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("2 of the 14 pictures that folder lists for its train split"), "{said}");
    #[cfg(unix)]
    {
        let link = dir.path().join("pictures/ant/link.ppm");
        std::os::unix::fs::symlink(dir.path(), &link).unwrap();
        let output =
            retort(&["data", "check", "folder", "--data-root=pictures", "--json"], dir.path());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let found = json(&output, 0);
        assert!(said.matches("1 symbolic links in pictures are left out").count() == 1, "{said}");
        assert!(found["remarks"][0].as_str().unwrap().contains("they lead out of it"), "{found}");
        std::fs::remove_file(link).unwrap();
    }
    let info = ["data", "info", "folder", "--data-root=pictures", "--set=labels=labels.csv"];
    let message = error(&retort(&info, dir.path()), 1);
    assert!(message.contains("4 pictures of folder are missing"), "{message}");
}

#[test]
fn queries_are_looked_for_in_the_gallery_where_both_are_published() {
    let dir = tempfile::tempdir().unwrap();
    let (mut list, mut picture) = (String::new(), 0);
    for (item, parts) in
        (0..7).map(|i| (i, if i < 4 { ["train"; 3] } else { ["query", "gallery", "gallery"] }))
    {
        for part in parts {
            let path = format!("img/WOMEN/Dresses/id_{item}/{picture}.ppm");
            let file = dir.path().join("shop").join(&path);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            let pixels = (0..3 * 40 * 40).map(|i| (i * (7 + item) + 3 * picture) as u8);
            std::fs::write(file, [b"P6 40 40 255\n".to_vec(), pixels.collect()].concat()).unwrap();
            list.extend([path.as_str(), &format!(" id_{item} "), part, "\n"]);
            picture += 1;
        }
    }
    let list = format!("{picture}\nimage_name item_id evaluation_status\n{list}");
    std::fs::write(dir.path().join("shop/list_eval_partition.txt"), list).unwrap();
    let train = [
        "train",
        "source",
        "--device=cpu",
        "--dataset=in_shop",
        "--data-root=shop",
        "--loss=proxy_anchor",
        "--width=4",
        "--embedding=8",
        "--epochs=1",
        "--batch=6",
        "--images-per-class=3",
        "--set=data.size=32",
        "--set=recall_at=[1,2]",
        "--out=run",
        "--json",
    ];
    json(&retort(&train, dir.path()), 0);
    let evaluate = |more: &[&str]| {
        let args = [&["evaluate", "run", "--device=cpu", "--k=1,2", "--json"], more].concat();
        json(&retort(&args, dir.path()), 0)
    };
    let apart = evaluate(&[]);
    assert_eq!((&apart["samples"], &apart["gallery"]), (&3.into(), &6.into()));
    let together = evaluate(&["--reference"]);
    assert_eq!((&together["samples"], &together["gallery"]), (&9.into(), &Value::Null));
    for (split, n) in [("query", 3), ("gallery", 6)] {
        let out = format!("--out={split}.safetensors");
        let args = ["embed", "--checkpoint=run", "--device=cpu", "--split", split, &out];
        assert!(retort(&args, dir.path()).status.success());
        let bytes = std::fs::read(dir.path().join(format!("{split}.safetensors"))).unwrap();
        let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(tensors.tensor("embeddings").unwrap().shape(), [n, 8]);
    }
    let args =
        ["metrics", "query.safetensors", "--gallery=gallery.safetensors", "--k=1,2", "--json"];
    assert_eq!(json(&retort(&args, dir.path()), 0)["recall"], apart["recall"]);
}
