//! Published folders, in small: what each data set makes of them, and of what is wrong in them.

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use crate::common::{assert_says, golden};
use retort_datasets::{
    DataError, Dataset, Image, Loader, Options, Split, absent, check, find, open, splits,
};

const PNG: &[u8] = include_bytes!("pictures/alpha.png");

fn put(root: &Path, path: &str, content: &[u8]) {
    let path = root.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

fn options(root: &Path) -> Options {
    Options { root: Some(root.to_owned()), size: 32, ..Options::default() }
}

fn opened(name: &str, split: Split, root: &Path) -> Box<dyn Dataset> {
    open(name, split, &options(root)).unwrap_or_else(|error| panic!("{error}"))
}

#[track_caller]
fn refused(name: &str, split: Split, root: &Path, parts: &[&str]) -> DataError {
    let error = open(name, split, &options(root)).err().unwrap();
    assert_says(&error, parts);
    error
}

fn files(data: &dyn Dataset, root: &Path) -> Vec<String> {
    let file = |i| data.file(i).unwrap().strip_prefix(root).unwrap().to_str().unwrap().to_owned();
    (0..data.len()).map(file).collect()
}

#[test]
fn sets_that_read_files_say_which() {
    let empty = tempfile::tempdir().unwrap();
    for name in ["cub", "cars", "sop", "in_shop", "folder", "omniglot"] {
        let error = open(name, Split::Train, &Options::default()).err().unwrap();
        assert_says(&error, &[name, "no folder was given", "--data-root"]);
        refused(name, Split::Train, &empty.path().join("nowhere"), &["nowhere", "--data-root"]);
        refused(name, Split::Test, empty.path(), &[empty.path().to_str().unwrap(), "--data-root"]);
    }
    let error = open("cubs", Split::Train, &Options::default()).err().unwrap();
    assert_says(&error, &["cubs", "did you mean cub?", "in_shop"]);
}

#[test]
fn options_of_other_sets_are_refused() {
    let root = tempfile::tempdir().unwrap();
    let with = |change: fn(&mut Options)| {
        let mut options = options(root.path());
        change(&mut options);
        options
    };
    let error =
        open("cub", Split::Train, &with(|o| *o = o.clone().with("classes", 9))).err().unwrap();
    assert_says(&error, &["cub has no options, so none is named classes", "Leave out"]);
    let error = open("sop", Split::Train, &with(|o| *o = o.clone().with("train_classes", "0.5")));
    assert_says(&error.err().unwrap(), &["sop has no options", "train_classes"]);
    let error = open("cars", Split::Query, &with(|_| ())).err().unwrap();
    assert_says(&error, &["\"cars\" has no query split", "train, test"]);
}

fn in_shop(root: &Path, list: &str) {
    put(root, "Eval/list_eval_partition.txt", list.as_bytes());
    std::fs::create_dir_all(root.join("Img/img")).unwrap();
}

const IN_SHOP: &str = "7\nimage_name item_id evaluation_status
img/WOMEN/Dresses/id_00000002/02_1_front.jpg               id_00000002 train
img/WOMEN/Dresses/id_00000002/02_2_side.jpg                id_00000002 train
img/MEN/Denim/id_00000080/01_1_front.jpg                   id_00000080 train
img/WOMEN/Dresses/id_00000003/02_1_front.jpg               id_00000003 query
img/MEN/Denim/id_00000007/02_1_front.jpg                   id_00000007 query
img/WOMEN/Dresses/id_00000003/02_3_back.jpg                id_00000003 gallery
img/MEN/Denim/id_00000007/02_4_full.jpg                    id_00000007 gallery
";

#[test]
fn in_shop_has_queries_and_a_gallery_with_the_same_labels() {
    let root = tempfile::tempdir().unwrap();
    in_shop(root.path(), IN_SHOP);
    let [train, test, query, gallery] = [Split::Train, Split::Test, Split::Query, Split::Gallery]
        .map(|split| opened("in_shop", split, root.path()));
    assert_eq!([train.len(), test.len(), query.len(), gallery.len()], [3, 4, 2, 2]);
    assert_eq!(train.classes(), ["id_00000002", "id_00000080"]);
    assert_eq!(train.labels(), [0, 0, 1]);
    assert_eq!(query.classes(), gallery.classes());
    assert_eq!(query.classes(), ["id_00000003", "id_00000007"]);
    assert_eq!((query.labels(), gallery.labels()), (&[0, 1][..], &[0, 1][..]));
    assert_eq!(test.labels(), [0, 1, 0, 1]);
    // Dresses came first.
    assert_eq!(train.super_labels(), Some(&[0, 1][..]));
    assert_eq!(query.super_labels(), Some(&[0, 1][..]));
    let first = "Img/img/WOMEN/Dresses/id_00000002/02_1_front.jpg";
    assert_eq!(files(&*train, root.path())[0], first);
    let error = train.image(0).unwrap_err();
    assert_says(&error, &[first, "cannot be read", "fetch it again"]);

    for (bad, parts) in [
        ("img/a.jpg id_1 test", ["line 3", "not train, query or gallery"]),
        ("img/a.jpg id_1", ["line 3", "three columns"]),
        ("../../secret.jpg id_1 train", ["../../secret.jpg", "outside the folder"]),
        ("", ["no pictures of this split", "--data-root"]),
    ] {
        in_shop(root.path(), &format!("1\nheader\n{bad}\n"));
        refused("in_shop", Split::Train, root.path(), &parts);
    }
}

#[test]
fn sop_keeps_super_classes_and_paths_with_blanks() {
    let root = tempfile::tempdir().unwrap();
    let list = |rows: &str| {
        let text = format!("image_id class_id super_class_id path\n{rows}\n");
        put(root.path(), "Stanford_Online_Products/Ebay_train.txt", text.as_bytes());
    };
    list(
        "1 1 1 bicycle_final/111085122871_0.JPG\n2 5 3 fan final/9 1_0.JPG\n\n3 11319 1 x/1_0.JPG",
    );
    let data = opened("sop", Split::Train, root.path());
    assert_eq!(data.classes(), ["bicycle_final/111085122871", "fan final/9 1"]);
    assert_eq!(data.super_labels(), Some(&[0, 2][..]));
    assert_eq!((data.class_id(0), data.class_id(1)), (0, 4));
    assert!(data.describe(1).ends_with("fan final/9 1_0.JPG"));
    for (rows, parts) in [
        ("1 1 1", ["line 2", "names no picture"]),
        ("1 one 1 a_0.JPG", ["line 2", "three numbers"]),
        ("0 0 0 a_0.JPG", ["line 2", "three numbers"]),
        ("1 1 1 /etc/passwd", ["/etc/passwd", "outside the folder"]),
    ] {
        list(rows);
        refused("sop", Split::Train, root.path(), &parts);
    }
}

#[test]
fn cub_needs_all_its_classes_with_pictures() {
    let root = tempfile::tempdir().unwrap();
    put(root.path(), "CUB_200_2011/images/001.Albatross/a.jpg", PNG);
    refused("cub", Split::Train, root.path(), &["1 class folders instead of 200"]);
    for class in 2..=200 {
        put(root.path(), &format!("CUB_200_2011/images/{class:03}.x/._a.jpg"), b"junk");
    }
    refused("cub", Split::Train, root.path(), &["002.x", "no pictures"]);
}

/// An element of a MATLAB 5 file.
fn element(kind: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = kind.to_le_bytes().to_vec();
    bytes.extend((body.len() as u32).to_le_bytes());
    bytes.extend(body);
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes
}

fn array(class: u8, dims: [u32; 2], name: &str, rest: &[Vec<u8>]) -> Vec<u8> {
    let dims: Vec<u8> = dims.iter().flat_map(|d| d.to_le_bytes()).collect();
    let flags = element(6, &[class, 0, 0, 0, 0, 0, 0, 0]);
    let parts = [&[flags, element(5, &dims), element(1, name.as_bytes())], rest].concat();
    element(14, &parts.concat())
}

fn matlab(variables: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = vec![b' '; 124];
    bytes.extend([0, 1, b'I', b'M']);
    bytes.extend(variables.concat());
    bytes
}

/// A compressed array of so many zeros.
fn compressed(name: &str, bytes: usize) -> Vec<u8> {
    let whole = array(9, [1, bytes as u32], name, &[element(2, &vec![0; bytes])]);
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&whole).unwrap();
    let mut bytes = element(15, &encoder.finish().unwrap());
    // Compressed elements aren't padded.
    let size = u32::from_le_bytes(bytes[4..8].try_into().unwrap());
    bytes.truncate(8 + size as usize);
    bytes
}

/// `annotations`, with its fields in the devkit's order.
fn annotations(rows: &[(&str, u16)], labels: bool) -> Vec<u8> {
    let names = if labels { "class\0fname\0" } else { "bbox1\0fname\0" };
    let values: Vec<Vec<u8>> = rows
        .iter()
        .flat_map(|(file, class)| {
            let utf16: Vec<u8> = file.encode_utf16().flat_map(u16::to_le_bytes).collect();
            [
                array(6, [1, 1], "", &[element(4, &class.to_le_bytes())]),
                array(4, [1, file.len() as u32], "", &[element(4, &utf16)]),
            ]
        })
        .collect();
    let head = [element(5, &6_u32.to_le_bytes()), element(1, names.as_bytes())];
    array(2, [1, rows.len() as u32], "annotations", &[&head[..], &values].concat())
}

fn devkit(root: &Path, labels: bool) {
    let names = ["AM General Hummer", "Acura RL"]
        .map(|name| array(4, [1, name.len() as u32], "", &[element(16, name.as_bytes())]));
    let names = array(1, [1, 2], "class_names", &names);
    let base = "stanford_cars/devkit";
    put(root, &format!("{base}/cars_meta.mat"), &matlab(&[names]));
    let train = annotations(&[("00001.jpg", 2), ("00002.jpg", 150)], true);
    put(root, &format!("{base}/cars_train_annos.mat"), &matlab(&[train]));
    let test = annotations(&[("00001.jpg", 1), ("00002.jpg", 151)], labels);
    put(root, "stanford_cars/cars_test_annos_withlabels.mat", &matlab(&[test]));
}

#[test]
fn cars_are_read_from_the_devkit_too() {
    let root = tempfile::tempdir().unwrap();
    devkit(root.path(), true);
    let train = opened("cars", Split::Train, root.path());
    let base = root.path().join("stanford_cars");
    assert_eq!(files(&*train, &base), ["cars_train/00001.jpg", "cars_test/00001.jpg"]);
    assert_eq!(train.classes(), ["AM General Hummer", "Acura RL"]);
    assert_eq!(train.labels(), [1, 0]);
    let test = opened("cars", Split::Test, root.path());
    assert_eq!(files(&*test, &base), ["cars_train/00002.jpg", "cars_test/00002.jpg"]);
    assert_eq!((test.class_id(0), test.class_id(1)), (149, 150));

    devkit(root.path(), false);
    refused(
        "cars",
        Split::Train,
        root.path(),
        &["cars_test_annos_withlabels.mat", "no field `class`"],
    );
    std::fs::remove_file(base.join("cars_test_annos_withlabels.mat")).unwrap();
    refused(
        "cars",
        Split::Train,
        root.path(),
        &["cars_test_annos_withlabels.mat", "cannot be read"],
    );
}

#[test]
fn cars_are_found_a_folder_deeper() {
    let root = tempfile::tempdir().unwrap();
    devkit(root.path(), true);
    let base = root.path().join("stanford_cars");
    put(&base, "cars_train/cars_train/00001.jpg", PNG);
    put(&base, "cars_test/cars_test/00001.jpg", PNG);
    std::fs::create_dir(base.join("car_devkit")).unwrap();
    std::fs::rename(base.join("devkit"), base.join("car_devkit/devkit")).unwrap();
    let train = opened("cars", Split::Train, root.path());
    let expected = ["cars_train/cars_train/00001.jpg", "cars_test/cars_test/00001.jpg"];
    assert_eq!(files(&*train, &base), expected);
    assert!(absent(&*train).is_empty());
    train.image(1).unwrap();
    // The folder itself in one of the same name.
    let outer = tempfile::tempdir().unwrap();
    std::fs::create_dir(outer.path().join("stanford_cars")).unwrap();
    std::fs::rename(&base, outer.path().join("stanford_cars/stanford_cars")).unwrap();
    assert_eq!(opened("cars", Split::Train, outer.path()).len(), 2);
}

#[test]
fn hostile_matlab_files_are_refused_quickly() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("cars_annos.mat");
    let say = |bytes: &[u8], part: &str| {
        std::fs::write(&path, bytes).unwrap();
        refused("cars", Split::Train, root.path(), &["cars_annos.mat", part, "fetch it again"]);
    };
    say(b"", "shorter than a header");
    say(&[0; 200], "doesn't begin like one");
    say(&matlab(&[]), "no struct array");
    let mut newer = b"MATLAB 7.3 MAT-file".to_vec();
    newer.resize(126, b' ');
    newer.extend(b"\0IM");
    newer.resize(512, 0);
    newer.extend(b"\x89HDF\r\n\x1a\n");
    say(&newer, "it is a MATLAB 7.3 file, which is HDF5 and can't be read. Save it again with -v7");
    say(&newer[512..], "it is a MATLAB 7.3 file");
    // A billion structs in a few bytes; cells in cells without end; a bomb of zeros.
    let head = [element(5, &6_u32.to_le_bytes()), element(1, b"class\0fname\0")];
    say(
        &matlab(&[array(2, [1 << 15, 1 << 15], "annotations", &head)]),
        "more than it has room for",
    );
    let nested =
        (0..20).fold(element(14, &[]), |inner, _| array(1, [1, 1], "annotations", &[inner]));
    say(&matlab(&[nested]), "deep");
    // A megabyte that inflates to gigabytes: of one variable, of some that together are too large, and
    // of many that nobody asked for.
    let small = compressed("annotations", 20 << 20);
    say(&matlab(&[compressed("annotations", 65 << 20)]), "larger than any list");
    say(&matlab(&[small.clone(), small.clone()]), "larger than any list");
    say(&matlab(&vec![compressed("other", 20 << 20); 60]), "no struct array");
    say(&matlab(&[small]), "no struct array");
    say(&matlab(&vec![array(6, [0, 0], "x", &[]); 5000]), "more than 4096 variables");
    // Two million empty cells, of 8 bytes each; a million fields, of one letter each.
    let cells = vec![element(14, &[]); 2 << 20].concat();
    say(&matlab(&[array(1, [1, 2 << 20], "annotations", &[cells])]), "more than 1048576 cells");
    let head = [element(5, &1_u32.to_le_bytes()), element(1, &vec![b'a'; 1 << 20])];
    say(&matlab(&[array(2, [0, 0], "annotations", &head)]), "1048576 fields");
    let dims = element(5, &vec![0; 1 << 20]);
    let parts = [element(6, &[1, 0, 0, 0, 0, 0, 0, 0]), dims, element(1, b"annotations")];
    say(&matlab(&[element(14, &parts.concat())]), "more than 256 dimensions");

    // Any byte changed, or the end cut off: an error or other numbers, never a panic.
    for name in ["cars196/cars_annos.mat", "cars196/variants/cars_annos_plain_uncompressed.mat"] {
        let whole = std::fs::read(golden().join("datasets").join(name)).unwrap();
        for i in 0..120 {
            let at = if i < 60 { 120 + i } else { i * whole.len() / 120 };
            let mut bytes = whole.clone();
            bytes[at] ^= 0xff;
            std::fs::write(&path, &bytes).unwrap();
            let _ = open("cars", Split::Train, &options(root.path()));
            std::fs::write(&path, &whole[..at]).unwrap();
            let _ = open("cars", Split::Train, &options(root.path()));
        }
    }
}

#[test]
fn a_folder_is_split_as_asked_for() {
    let root = tempfile::tempdir().unwrap();
    for class in ["ant", "bee", "cat", "dog"] {
        put(root.path(), &format!("{class}/b.JPG"), PNG);
        put(root.path(), &format!("{class}/a.jpeg"), PNG);
        put(root.path(), &format!("{class}/more/c.png"), PNG);
        put(root.path(), &format!("{class}/notes.txt"), b"");
        put(root.path(), &format!("{class}/._b.JPG"), b"");
    }
    put(root.path(), "readme.md", b"");
    put(root.path(), "list.txt", b"dog\n\nant \n");
    let list = root.path().join("list.txt").display().to_string();
    let split = |classes: Option<&str>, split| {
        open("folder", split, &options(root.path()).with("train_classes", classes))
    };
    for (classes, train, test) in [
        (None, ["ant", "bee"].as_slice(), ["cat", "dog"].as_slice()),
        (Some("0.25"), &["ant"], &["bee", "cat", "dog"]),
        (Some("cat, ant,bee"), &["ant", "bee", "cat"], &["dog"]),
        (Some(&list), &["ant", "dog"], &["bee", "cat"]),
        (Some("list.txt"), &["ant", "dog"], &["bee", "cat"]),
    ] {
        let [found, rest] = [Split::Train, Split::Test].map(|s| split(classes, s).unwrap());
        assert_eq!((found.classes(), rest.classes()), (&strings(train)[..], &strings(test)[..]));
        assert_eq!(found.len(), 3 * train.len());
        let own = |name: &str| format!("{}/{name}", train[0]);
        assert_eq!(files(&*found, root.path())[..3], ["a.jpeg", "b.JPG", "more/c.png"].map(own));
    }
    for (classes, parts) in [
        ("cow", ["data.train_classes", "no class \"cow\""]),
        ("1.5", ["data.train_classes", "no part of the classes"]),
        ("0.01", ["0 of its 4 classes would train", "some must test"]),
        ("ant,bee,cat,dog", ["4 of its 4 classes would train", "some must test"]),
    ] {
        assert_says(&split(Some(classes), Split::Train).err().unwrap(), &parts);
    }
}

/// What was remarked, as one text.
fn remarks(data: &dyn Dataset) -> String {
    data.remarks().join("; ")
}

#[test]
fn lists_without_their_headers_are_read_and_said() {
    let root = tempfile::tempdir().unwrap();
    let list = |text: &str| put(root.path(), "Ebay_train.txt", text.as_bytes());
    list("\u{feff}image_id class_id super_class_id path\n1 1 1 a_0.JPG\n2 1 1 a_1.JPG\n");
    let data = opened("sop", Split::Train, root.path());
    assert_eq!((data.len(), remarks(&*data)), (2, String::new()));
    list("1 1 1 a_0.JPG\n2 1 1 a_1.JPG\n");
    let data = opened("sop", Split::Train, root.path());
    assert_eq!(files(&*data, root.path()), ["a_0.JPG", "a_1.JPG"]);
    assert!(remarks(&*data).contains("Ebay_train.txt has no header"), "{}", remarks(&*data));
    put(root.path(), "a_0.JPG", PNG);
    assert_eq!(absent(&*data), [root.path().join("a_1.JPG")]);

    let rows = IN_SHOP.splitn(3, '\n').nth(2).unwrap();
    for (head, says) in [
        ("7\nimage_name item_id evaluation_status\n", ""),
        ("", "has no header of two lines"),
        ("7\n", "has no header of two lines"),
        ("image_name item_id evaluation_status\n", "has no header of two lines"),
        ("9\nimage_name item_id evaluation_status\n", "says that it has 9 pictures, but lists 7"),
    ] {
        let root = tempfile::tempdir().unwrap();
        in_shop(root.path(), &format!("{head}{rows}"));
        let data = opened("in_shop", Split::Train, root.path());
        assert_eq!(data.len(), 3, "{head}");
        let found = remarks(&*data);
        assert!(found.contains(says) && found.is_empty() == says.is_empty(), "{head:?}: {found}");
    }
}

#[test]
fn what_other_programs_leave_behind_is_no_picture_and_no_class() {
    let root = tempfile::tempdir().unwrap();
    for class in ["ant", "bee"] {
        put(root.path(), &format!("{class}/1.png"), PNG);
        for junk in
            ["@eaDir/1.png/SYNOPHOTO_THUMB_M.jpg", "__MACOSX/1.png", "._1.png", ".hidden.png"]
        {
            put(root.path(), &format!("{class}/{junk}"), PNG);
        }
        put(root.path(), &format!("{class}/Thumbs.db"), b"");
    }
    for junk in
        ["@eaDir/x.png", "__MACOSX/ant/._1.png", ".git/x.png", "$RECYCLE.BIN/x.png", ".DS_Store"]
    {
        put(root.path(), junk, PNG);
    }
    let [train, test] = [Split::Train, Split::Test].map(|s| opened("folder", s, root.path()));
    assert_eq!(files(&*train, root.path()), ["ant/1.png"]);
    assert_eq!(files(&*test, root.path()), ["bee/1.png"]);
}

#[test]
fn classes_without_pictures_are_named_or_left_out() {
    let root = tempfile::tempdir().unwrap();
    for class in ["ant", "cat", "dog"] {
        put(root.path(), &format!("{class}/1.png"), PNG);
    }
    put(root.path(), "bee/notes.txt", b"");
    put(root.path(), "eel/._1.png", PNG);
    let says = ["2 classes have no pictures: bee, eel", "on_empty_class = \"skip\""];
    refused("folder", Split::Train, root.path(), &says);
    refused("folder", Split::Test, root.path(), &says);
    let options = Options { skip_empty: true, ..options(root.path()) };
    let [train, test] =
        [Split::Train, Split::Test].map(|split| open("folder", split, &options).unwrap());
    assert_eq!(train.classes(), ["ant", "cat"]);
    assert_eq!(test.classes(), ["dog"]);
    assert!(remarks(&*train).contains("2 classes have no pictures: bee, eel, and left out"));
}

#[cfg(unix)]
#[test]
fn links_lead_nowhere_else_and_count_nothing_twice() {
    use std::os::unix::fs::symlink;
    let (root, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let at = |name: &str| root.path().join(name);
    put(outside.path(), "secret.png", PNG);
    put(outside.path(), "folder/secret.png", PNG);
    put(root.path(), "a/1.png", PNG);
    put(root.path(), "b/1.png", PNG);
    put(root.path(), ".store/2.png", PNG);
    put(root.path(), ".store/deep/3.png", PNG);
    for (link, to) in [
        ("a/out.png", outside.path().join("secret.png")),
        ("a/out", outside.path().join("folder")),
        ("c", outside.path().join("folder")),
        ("a/again.png", at("b/1.png")),
        ("b/a", at("a")),
        ("b/up", root.path().to_owned()),
        // What is found through links only.
        ("a/2.png", at(".store/2.png")),
        ("b/2.png", at(".store/2.png")),
        ("b/more", at(".store/deep")),
        ("b/x.png", at(".store/deep/3.png")),
        ("b/all", at(".store")),
    ] {
        symlink(to, at(link)).unwrap();
    }
    let [train, test] = [Split::Train, Split::Test].map(|s| opened("folder", s, root.path()));
    assert_eq!(files(&*train, root.path()), ["a/1.png", "a/2.png"]);
    assert_eq!(files(&*test, root.path()), ["b/1.png", "b/x.png"]);
    for data in [&train, &test] {
        let found = remarks(&**data);
        assert!(found.contains("3 lead out of it"), "{found}");
        assert!(found.contains("symbolic links"), "{found}");
        (0..data.len()).for_each(|i| drop(data.image(i).unwrap()));
    }
    // The folder itself may be a link, and lists may not lead out either.
    let linked = outside.path().join("linked");
    symlink(root.path(), &linked).unwrap();
    assert_eq!(opened("folder", Split::Train, &linked).len(), 2);
    put(root.path(), "list.csv", b"path,label,split\na/out.png,x,train\na/1.png,y,test\n");
    let options = options(root.path()).with("labels", "list.csv");
    let data = open("folder", Split::Train, &options).unwrap();
    assert_says(&data.image(0).unwrap_err(), &["a/out.png", "leads out of"]);
}

#[cfg(target_os = "linux")]
#[test]
fn names_need_not_be_utf_8() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;
    let root = tempfile::tempdir().unwrap();
    for class in [&b"caf\xe9"[..], b"caf\xe8", b"tea", b"\xff"] {
        let folder = root.path().join(OsStr::from_bytes(class));
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join(OsStr::from_bytes(b"\xfc.png")), PNG).unwrap();
    }
    let train = opened("folder", Split::Train, root.path());
    assert_eq!(train.classes(), ["\\xff", "caf\\xe8"]);
    assert_eq!(train.labels(), [1, 0]);
    train.image(1).unwrap();
    let options = options(root.path()).with("train_classes", "tea, \\xff");
    let train = open("folder", Split::Train, &options);
    assert_eq!(train.unwrap().classes(), ["\\xff", "tea"]);
}

#[test]
fn folders_of_splits_are_splits() {
    let root = tempfile::tempdir().unwrap();
    for path in ["train/ant/1.png", "train/bee/1.png", "Test/cat/1.png", "Test/cat/2.png"] {
        put(root.path(), path, PNG);
    }
    let both = || [Split::Train, Split::Test].map(|split| opened("folder", split, root.path()));
    let [train, test] = both();
    assert_eq!(train.classes(), ["ant", "bee"]);
    assert_eq!(files(&*test, root.path()), ["Test/cat/1.png", "Test/cat/2.png"]);
    assert_eq!(remarks(&*test), "");
    let splits_of = || splits("folder", &options(root.path())).unwrap();
    assert_eq!(splits_of(), [Split::Train, Split::Test]);
    // Classes that are in both are said.
    put(root.path(), "Test/ant/1.png", PNG);
    let [train, test] = both();
    assert_eq!((train.len(), test.classes()), (2, &strings(&["ant", "cat"])[..]));
    for data in [train, test] {
        let found = remarks(&*data);
        assert!(found.contains("1 of the 2 classes to test on are trained on, too"), "{found}");
    }
    // Beside a test split, the one for validation isn't used; alone, it tests.
    put(root.path(), "val/dog/1.png", PNG);
    let [_, test] = both();
    assert_eq!(test.classes(), ["ant", "cat"]);
    assert!(remarks(&*test).contains("the 1 pictures for validation aren't used"));
    std::fs::remove_dir_all(root.path().join("Test")).unwrap();
    assert_eq!(both()[1].classes(), ["dog"]);
    let halves = options(root.path()).with("train_classes", "0.5");
    let error = open("folder", Split::Train, &halves);
    assert_says(&error.err().unwrap(), &["data.train_classes", "divided into splits already"]);
    // No class is called so.
    put(root.path(), "eel/1.png", PNG);
    let says = ["it holds train", "beside eel", "Rename train if it is a class"];
    refused("folder", Split::Train, root.path(), &says);
    std::fs::remove_dir_all(root.path().join("eel")).unwrap();
    std::fs::remove_dir_all(root.path().join("val")).unwrap();
    refused("folder", Split::Train, root.path(), &["no pictures to test on"]);

    // Queries and a gallery.
    put(root.path(), "query/cat/1.png", PNG);
    refused("folder", Split::Train, root.path(), &["a query split without a gallery"]);
    put(root.path(), "gallery/cat/2.png", PNG);
    put(root.path(), "gallery/dog/2.png", PNG);
    assert_eq!(splits_of(), [Split::Train, Split::Test, Split::Query, Split::Gallery]);
    let [test, query, gallery] = [Split::Test, Split::Query, Split::Gallery]
        .map(|split| opened("folder", split, root.path()));
    assert_eq!([test.len(), query.len(), gallery.len()], [3, 1, 2]);
    assert_eq!((query.classes(), query.labels()), (gallery.classes(), &[0][..]));
    assert_eq!(gallery.labels(), [0, 1]);
}

#[test]
fn labels_may_come_from_a_table() {
    let root = tempfile::tempdir().unwrap();
    for i in 0..6 {
        put(root.path(), &format!("images/{i}, really.png"), PNG);
    }
    let opened = |table: &str, split| {
        put(root.path(), "labels.csv", table.as_bytes());
        open("folder", split, &options(root.path()).with("labels", "labels.csv"))
    };
    let row = |i: usize, label: &str, split: &str| {
        format!("\"./images/{i}, really.png\",{label}{split}\n")
    };
    // Without splits, classes are divided as folders are.
    let plain: String = (0..6).map(|i| row(i, ["x", "y", "z"][i % 3], "")).collect();
    for head in ["", "path,label\n", "\u{feff}Filename, Class\n"] {
        let train = opened(&format!("{head}{plain}"), Split::Train).unwrap();
        assert_eq!((train.classes(), train.len()), (&strings(&["x", "y"])[..], 4), "{head}");
        train.image(3).unwrap();
    }
    let tabs = plain.replace("y.png\",", "y.png\"\t");
    assert!(tabs.contains('\t') && opened(&tabs.replace(", really", ""), Split::Train).is_ok());
    // With splits, as the table says.
    let parts = [",train", ",query", ",gallery", ",train", ",Gallery", ",val"];
    let table: String = (0..6).map(|i| row(i, ["x", "y", "y"][i % 3], parts[i])).collect();
    let table = format!("path,label,split\n{table}");
    let of = |split| opened(&table, split).unwrap();
    let [train, test, query, gallery] =
        [Split::Train, Split::Test, Split::Query, Split::Gallery].map(of);
    assert_eq!([train.len(), test.len(), query.len(), gallery.len()], [2, 3, 1, 2]);
    assert_eq!((query.labels(), gallery.labels()), (&[0][..], &[0, 0][..]));
    assert!(query.describe(0).ends_with("images/1, really.png"));
    assert!(remarks(&*test).contains("the 1 pictures for validation aren't used"));

    for (table, parts) in [
        ("", &["labels.csv", "names no picture"][..]),
        ("path,label\n", &["names no picture"]),
        ("path,label\na.png,\n", &["line 2", "a.png has no label"]),
        ("path,label\n,x\n", &["line 2", "names no picture"]),
        ("a.png,x\nb.png,y\n./a.png,x\n", &["line 3", "names a.png again, after line 1"]),
        ("a.png,x,train\nb.png,y,exam\n", &["line 2", "\"exam\"", "train, val, test"]),
        ("a.png,x,train\nb.png,y,\n", &["b.png has no split"]),
        ("a.png,x,train\nb.png,y,train\n", &["no pictures to test on"]),
        ("a.png,x\nb.png,x\n", &["one class only, x"]),
        ("../a.png,x\nb.png,y\n", &["../a.png", "outside the folder"]),
        ("/etc/passwd,x\nb.png,y\n", &["/etc/passwd", "outside the folder"]),
    ] {
        assert_says(&opened(table, Split::Train).err().unwrap(), parts);
    }
    let nowhere = options(root.path()).with("labels", "nowhere.csv");
    let error = open("folder", Split::Train, &nowhere);
    assert_says(&error.err().unwrap(), &["nowhere.csv", "cannot be read", "path,label,split"]);
    let labels = options(root.path()).with("labels", "labels.csv");
    let error = open("cub", Split::Train, &labels);
    assert_says(&error.err().unwrap(), &["cub has no options", "labels", "Leave out"]);
}

fn strings(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// What it is called, what makes it, and what its error says.
#[cfg(unix)]
type Kind<'a> = (&'a str, &'a dyn Fn(&Path), &'a str);

/// A pipe in a folder, where `mkfifo` is.
#[cfg(unix)]
fn pipe(path: &Path) {
    assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
}

#[cfg(unix)]
#[test]
fn what_is_no_file_is_never_waited_for() {
    use std::os::unix::fs::symlink;
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    put(root.path(), "a/1.png", PNG);
    put(root.path(), "b/1.png", PNG);
    let kinds: [Kind; 6] = [
        ("pipe", &pipe, "it is a pipe, not a file"),
        ("linked pipe", &|path| symlink(at("pipe"), path).unwrap(), "it is a pipe"),
        ("socket", &|path| drop(std::os::unix::net::UnixListener::bind(path).unwrap()), "a socket"),
        ("device", &|path| symlink("/dev/zero", path).unwrap(), "it is a device, not a file"),
        ("dangling", &|path| symlink(at("nothing"), path).unwrap(), "No such file"),
        ("loop", &|path| symlink(path, path).unwrap(), "symbolic links"),
    ];
    pipe(&at("pipe"));
    for (kind, make, says) in kinds {
        let picture = at("a/2.png");
        make(&picture);
        let data = opened("folder", Split::Train, root.path());
        if ["device", "linked pipe"].contains(&kind) {
            // What leads out of the folder, or to what is in it anyway, isn't in it.
            assert_eq!(data.len(), 1, "{kind}");
        } else {
            assert_eq!(data.len(), 2, "{kind}");
            assert_says(&data.image(1).unwrap_err(), &["a/2.png", says]);
        }
        std::fs::remove_file(&picture).unwrap();
        // As a list, and as an archive.
        let list = at("Ebay_train.txt");
        make(&list);
        let error = open("sop", Split::Train, &options(root.path())).err().unwrap().to_string();
        assert!(error.contains(says) || error.contains("holds Ebay_train.txt"), "{kind}: {error}");
        std::fs::remove_file(&list).unwrap();
        let zip = at("images_background_small1.zip");
        make(&zip);
        assert!(open("omniglot", Split::Train, &options(root.path())).is_err(), "{kind}");
        std::fs::remove_file(&zip).unwrap();
    }
}

#[cfg(unix)]
#[test]
fn links_that_go_in_circles_are_walked_once() {
    use std::os::unix::fs::symlink;
    let root = tempfile::tempdir().unwrap();
    for class in ["a", "b"] {
        put(root.path(), &format!("{class}/deep/1.png"), PNG);
        // Each way has as many ways on: 20^8 of them.
        for i in 0..20 {
            let here = root.path().join(class);
            symlink(&here, here.join(format!("up{i}"))).unwrap();
            symlink(here.join("deep"), here.join(format!("deep/self{i}"))).unwrap();
        }
    }
    let data = opened("folder", Split::Train, root.path());
    assert_eq!(files(&*data, root.path()), ["a/deep/1.png"]);
    let set = root.path().join("images_background_small1");
    std::fs::create_dir(&set).unwrap();
    for i in 0..20 {
        symlink(&set, set.join(format!("up{i}"))).unwrap();
    }
    refused("omniglot", Split::Train, root.path(), &["images_background_small"]);
}

#[test]
fn a_check_finds_what_is_broken_and_what_is_there_twice() {
    let root = tempfile::tempdir().unwrap();
    let other = include_bytes!("pictures/grey.jpg");
    put(root.path(), "a/1.png", PNG);
    put(root.path(), "a/2.jpg", other);
    put(root.path(), "a/3.jpg", &other[..200]);
    put(root.path(), "b/1.jpg", other);
    put(root.path(), "b/2.jpg", b"nothing");
    put(root.path(), "b/3.jpg", other);
    let [train, test] = [Split::Train, Split::Test].map(|s| opened("folder", s, root.path()));
    let splits: [(Split, &dyn Dataset); 2] = [(Split::Train, &*train), (Split::Test, &*test)];
    let found = check(&splits, 1, &|| ());
    assert_eq!((found.read, found.grey, found.sizes[&(83, 61)]), (4, 3, 4));
    let broken: Vec<(Split, usize)> = found.broken.iter().map(|f| (f.split, f.id)).collect();
    assert_eq!(broken, [(Split::Train, 2), (Split::Test, 1)]);
    assert!(found.broken[0].problem.contains("3.jpg"), "{:?}", found.broken[0]);
    let leak: Vec<(Split, usize)> = found.leaks[0].iter().map(|f| (f.split, f.id)).collect();
    assert_eq!((found.leaks.len(), found.twins.len()), (1, 0));
    assert_eq!(leak, [(Split::Train, 1), (Split::Test, 0), (Split::Test, 2)]);
    assert_eq!(check(&splits, 5, &|| ()), found);
    assert_eq!(check(&splits, usize::MAX, &|| ()), found);
}

#[test]
fn large_pictures_are_decoded_at_a_part_of_their_size_where_that_is_asked_for() {
    let root = tempfile::tempdir().unwrap();
    for (class, channels) in [("a", 3), ("b", 1), ("c", 3), ("d", 1)] {
        std::fs::create_dir(root.path().join(class)).unwrap();
        for (number, (width, height)) in [(1201, 899), (640, 1000), (500, 375)].iter().enumerate() {
            let value = |i: usize| {
                let (x, y, c) = (i / channels % width, i / channels / width, i % channels);
                let wave = (x as f64 / 37.0).sin() * (y as f64 / 53.0 + c as f64).cos();
                (127.5 + 100.0 * wave) as u8
            };
            let pixels = (0..width * height * channels).map(value).collect();
            let image = Image { width: *width, height: *height, channels, pixels };
            let file = root.path().join(class).join(format!("{number}.jpg"));
            std::fs::write(file, image.to_jpeg(90).unwrap()).unwrap();
        }
    }
    let pixels = |scaled_decoding, training: bool| {
        let options = Options { size: 224, scaled_decoding, ..options(root.path()) };
        let data: Arc<dyn Dataset> = open("folder", Split::Train, &options).unwrap().into();
        let augment = (find("folder").unwrap().augmentation)(224);
        let transform = if training { augment } else { data.evaluation() };
        let dataset = data.clone();
        let load = Loader { dataset, transform, views: 1, channels: 3, seed: 7, workers: 0 };
        let batch = load.epoch(0, vec![(0..6).collect()]).next().unwrap().unwrap();
        assert_eq!(batch.shape, [6, 3, 224, 224]);
        batch.images
    };
    for training in [false, true] {
        let (whole, part) = (pixels(false, training), pixels(true, training));
        assert!(part == pixels(true, training));
        let off = |image: usize| {
            let of = image * 3 * 224 * 224..(image + 1) * 3 * 224 * 224;
            let pairs = whole[of.clone()].iter().zip(&part[of]);
            pairs.map(|(a, b)| f64::from(a.abs_diff(*b))).sum::<f64>() / (3.0 * 224.0 * 224.0)
        };
        for image in 0..6 {
            assert!(off(image) < 3.0, "picture {image} is off by {} on average", off(image));
            // Twice the crop isn't there in the smallest picture.
            let small = image % 3 == 2;
            assert!(training || small == (off(image) == 0.0), "picture {image}: {}", off(image));
        }
    }
    let options = Options { scaled_decoding: true, cache: 1 << 20, ..options(root.path()) };
    let error = open("folder", Split::Train, &options).err().unwrap();
    assert_says(&error, &["scaled_decoding", "Choose one"]);
}

/// What a folder or an archive calls its files is theirs; a message about them is one line all the same.
#[cfg(unix)]
#[test]
fn names_with_control_characters_stay_on_one_line() {
    let root = tempfile::tempdir().unwrap();
    for class in ["a\nb", "c"] {
        put(root.path(), &format!("{class}/1.png"), b"no picture");
    }
    let data = opened("folder", Split::Train, root.path());
    let message = data.image(0).err().unwrap().to_string();
    assert!(message.contains("a\\nb/1.png") && !message.contains('\n'), "{message}");
}
