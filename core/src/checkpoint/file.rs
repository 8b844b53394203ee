//! What is in a file of weights, whatever wrote it: keys, shapes and types; values on demand.

use super::digest::{self, Held};
use super::guess::{self, Keys, NoNetwork};
use super::misfit::{Choice, Misfit, Remedy};
use super::own::{About, is_beside};
use super::pytorch::{self, Contents, Fault};
use super::select::{self, Selected, Selection};
use super::{CheckpointError, fit, folder, kind};
use crate::backbone::NetworkConfig;
use crate::fs::{open_regular, read_regular};
use crate::tensors::{self, File, header};
use burn::store::burn_pack::Tensor;
use burn::tensor::DType;
use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::io::{ErrorKind, Read as _};
use std::path::Path;
use std::sync::Arc;

/// How a file holds its tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Container {
    /// retort's own: safetensors with what is needed to build the network again.
    Retort,
    /// Safetensors of any other origin.
    Safetensors,
    /// `torch.save` since PyTorch 1.6.
    Zip,
    /// `torch.save` of PyTorch 0.1.10 to 1.5.
    Legacy,
    /// `torch.save` before that.
    Tar,
    /// A pickle alone, which has no tensors.
    Pickle,
}

impl Display for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Container::Retort => "retort",
            Container::Safetensors => "safetensors",
            Container::Zip => "PyTorch zip",
            Container::Legacy => "PyTorch legacy",
            Container::Tar => "PyTorch tar",
            Container::Pickle => "pickle",
        })
    }
}

/// A file of weights. Only shapes are read when it is opened (of safetensors, all of it).
#[derive(Debug)]
pub struct Weights {
    /// How the file holds them.
    pub container: Container,
    /// What stands before every key in the file: `model_state_dict.module.`.
    pub prefix: String,
    /// The network's tensors, without that.
    pub tensors: BTreeMap<String, Tensor>,
    /// Tensors of anything else, such as an optimiser's, under their full keys.
    pub beside: BTreeMap<String, Tensor>,
    /// What has one of the network's keys, but is nothing that retort reads: what it is.
    pub unread: BTreeMap<String, String>,
    /// The file's size in bytes; of several files, of all.
    pub size: u64,
    /// What retort wrote into its own.
    pub(super) about: Option<String>,
    /// Why no network is chosen, where there are several.
    several: Option<NoNetwork>,
    /// What was opened to read it.
    held: Vec<Held>,
}

/// What a file holds, before it is told apart.
struct Whole {
    container: Container,
    tensors: BTreeMap<String, Tensor>,
    unread: BTreeMap<String, String>,
    /// What retort wrote into its own.
    about: Option<String>,
    size: u64,
    held: Vec<Held>,
}

impl Weights {
    /// Reads a `.pth` of any age, a `.safetensors`, or an index of several of them; nothing in it is ever
    /// executed.
    pub fn read(path: &Path) -> Result<Self, CheckpointError> {
        Self::read_as(path, &Selection::default(), None)
    }

    /// The same, with what the user says of its keys, and which network is looked for.
    pub fn read_as(
        path: &Path,
        selection: &Selection,
        model: Option<&str>,
    ) -> Result<Self, CheckpointError> {
        let fail = |why: String| CheckpointError::unreadable(path, &why);
        if let Err(e) = path.metadata()
            && e.kind() == ErrorKind::NotFound
        {
            return Err(fail(format!("{e}; name a file of weights or a run's folder")));
        }
        let whole = whole(path, true).map_err(fail)?;
        check(&whole).map_err(fail)?;
        let Whole { container, tensors, unread, about, size, held } = whole;
        if container == Container::Retort {
            if !selection.is_empty() {
                let misfit = Misfit::new("it is retort's own, whose keys need no choosing")
                    .or(Remedy::Unsaid(vec![Choice::Prefix, Choice::Ignore, Choice::Map]));
                return Err(CheckpointError::mismatch(path, misfit));
            }
            let (beside, tensors) = tensors.into_iter().partition(|(name, _)| is_beside(name));
            let (prefix, several) = (String::new(), None);
            return Ok(Weights {
                container,
                prefix,
                tensors,
                beside,
                unread,
                size,
                about,
                several,
                held,
            });
        }
        let Selected { prefix, tensors, beside, several } =
            select::select(tensors, selection, model)
                .map_err(|misfit| CheckpointError::mismatch(path, misfit))?;
        let inside = |(key, what): (String, String)| {
            Some((key.strip_prefix(prefix.as_str())?.to_owned(), what))
        };
        let unread = unread.into_iter().filter_map(inside).collect();
        Ok(Weights { container, prefix, tensors, beside, unread, size, about, several, held })
    }

    /// SHA-256 of what was opened, as [`digest`](super::digest()) has it of a path: what has taken the file's
    /// place since then doesn't count.
    pub fn digest(&self) -> std::io::Result<String> {
        digest::of(&self.held)
    }

    /// The network by retort's own word, else the one that has these keys and shapes, or why none has.
    pub fn network(&self) -> Result<NetworkConfig, NoNetwork> {
        match (&self.about, &self.several) {
            (Some(about), _) => serde_json::from_str::<About>(about)
                .map(|about| about.network)
                .map_err(|e| NoNetwork::Damaged(e.to_string())),
            (None, Some(several)) => Err(several.clone()),
            (None, None) => guess::network(Keys { tensors: &self.tensors, prefix: "" }),
        }
    }
}

/// Everything in a file, or in those that an index names.
fn whole(path: &Path, may_be_index: bool) -> Result<Whole, String> {
    let mut head = Vec::new();
    let file = open_regular(path).map_err(|e| e.to_string())?;
    let size = file.metadata().map_err(|e| e.to_string())?.len();
    file.take(512).read_to_end(&mut head).map_err(|e| e.to_string())?;
    if may_be_index && folder::is_named_index(path) && head.trim_ascii_start().starts_with(b"{") {
        return several_files(path, size);
    }
    let is_safetensors = head.get(8) == Some(&b'{');
    if !is_safetensors && let Some(what) = kind::of_head(path, &head) {
        return Err(what);
    }
    let named = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("safetensors"));
    let mut whole = if is_safetensors || (named && !head.starts_with(b"PK")) {
        safetensors(path)?
    } else {
        let Contents { container, tensors, unread, file } =
            pytorch::read(path, &head).map_err(|fault| match fault {
                Fault::Other(what) => what,
                Fault::Damaged(why) => {
                    format!("it isn't a whole PyTorch checkpoint ({why}); use another copy of it")
                }
            })?;
        Whole { container, tensors, unread, about: None, size, held: vec![Held::File(file)] }
    };
    whole.size = size;
    Ok(whole)
}

/// The tensors that an index names, out of the files beside it.
fn several_files(path: &Path, size: u64) -> Result<Whole, String> {
    let (tensors, unread) = (BTreeMap::new(), BTreeMap::new());
    let (index, bytes) = folder::read(path)?;
    let (container, held) = (Container::Safetensors, vec![Held::Bytes(Arc::new(bytes))]);
    let mut all = Whole { container, tensors, unread, about: None, size, held };
    for (name, keys) in index {
        let file = folder::beside(path, &name);
        let shown = fit::shown(&name);
        let mut part = whole(&file, false).map_err(|why| format!("{shown} beside it: {why}"))?;
        check(&part).map_err(|why| format!("{shown} beside it: {why}"))?;
        all.container = part.container;
        all.size = all.size.saturating_add(part.size);
        all.held.append(&mut part.held);
        for key in keys {
            let tensor = part.tensors.remove(&key).ok_or_else(|| {
                let key = fit::shown(&key);
                format!("it says that {key} lies in {shown}, which has no such tensor")
            })?;
            all.tensors.insert(key, tensor);
        }
    }
    Ok(all)
}

/// Whether a file's claims make sense.
fn check(whole: &Whole) -> Result<(), String> {
    let Whole { tensors, unread, size, .. } = whole;
    if tensors.len() > header::MOST_TENSORS {
        return Err(format!("it holds more than {} tensors", header::MOST_TENSORS));
    }
    tensors.keys().try_for_each(|name| header::check_name(name))?;
    // Views share storages, and one of stride 0 claims any size.
    let claimed = tensors.values().fold(0u64, |sum, t| sum.saturating_add(t.byte_len() as u64));
    if claimed > (64 << 20) + 16 * size {
        return Err(format!(
            "its tensors claim {claimed} bytes, but it has {size}: it is damaged or hostile"
        ));
    }
    if !tensors.is_empty() {
        return Ok(());
    }
    let first = unread.iter().take(10).map(|(key, what)| match key.as_str() {
        "" => fit::shown(what),
        key => format!("{} is {}", fit::shown(key), fit::shown(what)),
    });
    match first.collect::<Vec<_>>().join(", ") {
        none if none.is_empty() => Err("it holds no tensors".to_owned()),
        unread => Err(format!(
            "it holds no tensors, but objects that only their authors' programs can read ({unread}); \
             save the network's state_dict() there"
        )),
    }
}

/// The type's name in PyTorch.
pub fn dtype_name(dtype: DType) -> &'static str {
    match dtype {
        DType::F64 => "float64",
        DType::F32 | DType::Flex32 => "float32",
        DType::F16 => "float16",
        DType::BF16 => "bfloat16",
        DType::I64 => "int64",
        DType::I32 => "int32",
        DType::I16 => "int16",
        DType::I8 => "int8",
        DType::U64 => "uint64",
        DType::U32 => "uint32",
        DType::U16 => "uint16",
        DType::U8 => "uint8",
        DType::Bool(_) => "bool",
        DType::QFloat(_) => "quantized",
    }
}

fn safetensors(path: &Path) -> Result<Whole, String> {
    let bytes = Arc::new(read_regular(path, u64::MAX).map_err(|e| e.to_string())?);
    let File { tensors, mut metadata } = tensors::read(&bytes)?;
    let about = metadata.remove("retort");
    let container = if about.is_some() { Container::Retort } else { Container::Safetensors };
    let held = vec![Held::Bytes(bytes)];
    Ok(Whole { container, tensors, unread: BTreeMap::new(), about, size: 0, held })
}
