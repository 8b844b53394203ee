//! What there is to compute on: the CPU (Burn's flex), and the GPUs that wgpu finds.

use burn::tensor::{Device, DeviceKind};
use std::future::Future;
use std::str::FromStr;
use std::task::{Context, Poll, Waker};
use wgpu::{Backend, DeviceType};

/// The device a user asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceChoice {
    /// A real GPU if there is one, else the CPU.
    Auto,
    /// The CPU.
    Cpu,
    /// The first real GPU, or the one with this number, be it real or not.
    Gpu(Option<usize>),
}

/// Why there is no such device.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// The name isn't one.
    #[error(
        "there is no device {0}; devices are auto, cpu, gpu, and gpu:N with a number of `retort devices`"
    )]
    Unknown(String),
    /// There is no GPU with this number.
    #[error("there is no gpu:{number}; {found}")]
    NoSuchGpu {
        /// The number asked for.
        number: usize,
        /// What there is instead.
        found: String,
    },
    /// There is no real GPU.
    #[error("there is no GPU; {0}")]
    NoGpu(String),
}

impl std::fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            DeviceChoice::Auto => f.write_str("auto"),
            DeviceChoice::Cpu => f.write_str("cpu"),
            DeviceChoice::Gpu(None) => f.write_str("gpu"),
            DeviceChoice::Gpu(Some(number)) => write!(f, "gpu:{number}"),
        }
    }
}

impl FromStr for DeviceChoice {
    type Err = DeviceError;

    fn from_str(text: &str) -> Result<Self, DeviceError> {
        let number = text.strip_prefix("gpu:").map(str::parse);
        match (text, number) {
            ("auto", _) => Ok(DeviceChoice::Auto),
            ("cpu", _) => Ok(DeviceChoice::Cpu),
            ("gpu", _) => Ok(DeviceChoice::Gpu(None)),
            (_, Some(Ok(number))) => Ok(DeviceChoice::Gpu(Some(number))),
            _ => Err(DeviceError::Unknown(text.to_owned())),
        }
    }
}

/// What a device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The CPU, computed on by flex.
    Cpu,
    /// A graphics card.
    Discrete,
    /// A GPU that shares the CPU's memory.
    Integrated,
    /// A GPU passed to a virtual machine.
    Virtual,
    /// A GPU of another kind, such as OpenGL reports.
    Other,
    /// A GPU imitated on the CPU: right, and slow.
    Software,
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Kind::Cpu => "CPU",
            Kind::Discrete => "discrete GPU",
            Kind::Integrated => "integrated GPU",
            Kind::Virtual => "virtual GPU",
            Kind::Other => "GPU",
            Kind::Software => "software GPU",
        })
    }
}

/// A device of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceInfo {
    /// `cpu` or `gpu:N`.
    pub id: String,
    /// The part's name.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// The graphics API through which it is used, or `flex`.
    pub api: String,
    /// Its driver, with version.
    pub driver: String,
    /// Which of its kind it is, as Burn counts.
    number: usize,
}

impl DeviceInfo {
    /// Whether it is the CPU.
    pub fn is_cpu(&self) -> bool {
        self.kind == Kind::Cpu
    }

    /// Whether it is a GPU that isn't imitated on the CPU.
    pub fn is_real_gpu(&self) -> bool {
        !matches!(self.kind, Kind::Cpu | Kind::Software)
    }

    fn open(&self) -> Device {
        let kind = match self.kind {
            Kind::Cpu => return Device::flex().autodiff(),
            Kind::Discrete => DeviceKind::DiscreteGpu(self.number),
            Kind::Integrated => DeviceKind::IntegratedGpu(self.number),
            Kind::Virtual => DeviceKind::VirtualGpu(self.number),
            Kind::Other => DeviceKind::DefaultDevice,
            Kind::Software => DeviceKind::Cpu,
        };
        if self.api == "vulkan" {
            return Device::vulkan(kind).autodiff(); // no other API needs to be asked
        }
        Device::wgpu(kind).autodiff()
    }
}

fn cpu() -> DeviceInfo {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    DeviceInfo {
        id: "cpu".to_owned(),
        name: format!("{threads} threads of this machine"),
        kind: Kind::Cpu,
        api: "flex".to_owned(),
        driver: String::new(),
        number: 0,
    }
}

/// The CPU, then the GPUs: each once.
pub fn list() -> Vec<DeviceInfo> {
    let mut seen: Vec<Kind> = Vec::new();
    let gpus = adapters().into_iter().enumerate().map(|(i, adapter)| {
        let kind = match adapter.device_type {
            DeviceType::DiscreteGpu => Kind::Discrete,
            DeviceType::IntegratedGpu => Kind::Integrated,
            DeviceType::VirtualGpu => Kind::Virtual,
            DeviceType::Cpu => Kind::Software,
            DeviceType::Other => Kind::Other,
        };
        let number = seen.iter().filter(|&&k| k == kind).count();
        seen.push(kind);
        let driver = format!("{} {}", adapter.driver, adapter.driver_info);
        DeviceInfo {
            id: format!("gpu:{i}"),
            name: adapter.name,
            kind,
            api: adapter.backend.to_string(),
            driver: driver.trim().to_owned(),
            number,
        }
    });
    [cpu()].into_iter().chain(gpus).collect()
}

/// The adapters of the first graphics API that has a GPU, else of the first that has any.
///
/// OpenGL isn't asked: its compute shaders can't do what the losses need, and its libraries print
/// to the terminal where there is no display.
fn adapters() -> Vec<wgpu::AdapterInfo> {
    let mut software = Vec::new();
    for api in [Backend::Vulkan, Backend::Metal, Backend::Dx12] {
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
            backends: api.into(),
            ..wgpu::InstanceDescriptor::new_without_display_handle()
        });
        let found = ready(instance.enumerate_adapters(api.into()));
        let found: Vec<_> = found.iter().map(wgpu::Adapter::get_info).collect();
        if found.iter().any(|a| a.device_type != DeviceType::Cpu) {
            return found;
        }
        if software.is_empty() {
            software = found;
        }
    }
    software
}

/// The result of a future that is ready at once, as those of native adapters are.
fn ready<T: Default>(future: impl Future<Output = T>) -> T {
    match std::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => T::default(),
    }
}

/// The device to compute on, with autodiff, and what it is.
pub fn resolve(choice: DeviceChoice) -> Result<(Device, DeviceInfo), DeviceError> {
    // Who asks for the CPU gets it without a look at the GPUs' drivers.
    let devices = if choice == DeviceChoice::Cpu { vec![cpu()] } else { list() };
    let info = choose(choice, devices)?;
    Ok((info.open(), info))
}

fn choose(choice: DeviceChoice, mut devices: Vec<DeviceInfo>) -> Result<DeviceInfo, DeviceError> {
    let order = [Kind::Discrete, Kind::Integrated, Kind::Virtual, Kind::Other];
    let real = order.iter().find_map(|kind| devices.iter().position(|d| d.kind == *kind));
    let gpus = devices.len() - 1;
    let position = match choice {
        DeviceChoice::Cpu => 0,
        DeviceChoice::Auto => real.unwrap_or(0),
        DeviceChoice::Gpu(Some(number)) if number < gpus => number + 1,
        DeviceChoice::Gpu(Some(number)) => {
            let found = match gpus {
                0 => "this machine has none that wgpu can use: use the device cpu".to_owned(),
                1 => "there is gpu:0 only".to_owned(),
                n => format!("there are gpu:0 to gpu:{}", n - 1),
            };
            return Err(DeviceError::NoSuchGpu { number, found });
        }
        DeviceChoice::Gpu(None) => real.ok_or_else(|| {
            DeviceError::NoGpu(match devices.get(1) {
                Some(d) => format!(
                    "{} ({}) is imitated on the CPU: name it, {}, to use it all the same",
                    d.name, d.kind, d.id
                ),
                None => "use the device cpu, or install your GPU's Vulkan driver".to_owned(),
            })
        })?,
    };
    debug_assert!(position == 0 || devices[position].is_real_gpu() || choice != DeviceChoice::Auto);
    Ok(devices.swap_remove(position))
}

#[cfg(test)]
mod tests {
    use super::{DeviceChoice, DeviceInfo, Kind, choose};

    fn device(id: &str, kind: Kind) -> DeviceInfo {
        let text = || id.to_owned();
        DeviceInfo { id: text(), name: text(), kind, api: text(), driver: text(), number: 0 }
    }

    #[test]
    fn auto_takes_a_real_gpu_and_never_a_software_one() {
        let auto = |kinds: &[Kind]| {
            let gpus = kinds.iter().enumerate().map(|(i, k)| device(&format!("gpu:{i}"), *k));
            let all = [device("cpu", Kind::Cpu)].into_iter().chain(gpus).collect();
            choose(DeviceChoice::Auto, all).unwrap().id
        };
        assert_eq!(auto(&[]), "cpu");
        assert_eq!(auto(&[Kind::Software]), "cpu");
        assert_eq!(auto(&[Kind::Software, Kind::Integrated, Kind::Discrete]), "gpu:2");
    }

    #[test]
    fn a_software_gpu_must_be_named() {
        let all = vec![device("cpu", Kind::Cpu), device("gpu:0", Kind::Software)];
        let message = choose(DeviceChoice::Gpu(None), all.clone()).unwrap_err().to_string();
        assert!(message.contains("name it, gpu:0,"), "{message}");
        assert_eq!(choose(DeviceChoice::Gpu(Some(0)), all.clone()).unwrap().id, "gpu:0");
        let message = choose(DeviceChoice::Gpu(Some(3)), all).unwrap_err().to_string();
        assert!(message.contains("there is gpu:0 only"), "{message}");
    }
}
