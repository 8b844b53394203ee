//! Names that no saved network has.

/// Refuses what runs programs, loads code or opens files. retort runs nothing of a pickle, but nobody who
/// saved weights put that there, so what else is in the file is as little worth.
///
/// A module is meant as a whole name: a package `code` of the file's author (`code.models.Net`, or
/// `code.Net`) has nothing of Python's module of that name.
pub(super) fn refuse(module: &str, name: &str) -> Result<(), String> {
    // Names that are Python's alone, and the packages among them with what is in them.
    const MODULES: &[&str] = &[
        "posix",
        "nt",
        "subprocess",
        "sys",
        "shutil",
        "socket",
        "pty",
        "runpy",
        "webbrowser",
        "pickle",
        "_pickle",
        "cPickle",
        "ftplib",
        "urllib2",
        "http.client",
        "http.server",
    ];
    const PACKAGES: &[&str] = &["os", "importlib", "ctypes", "urllib"];
    let package = module.split('.').next().unwrap_or_default();
    let whole = MODULES.contains(&module) || PACKAGES.contains(&package);
    // Names that an author's package may have, too.
    let function = match module {
        "builtins" | "__builtin__" => {
            &["eval", "exec", "execfile", "compile", "open", "__import__", "input", "breakpoint"][..]
        }
        "code" => &["interact", "InteractiveInterpreter", "InteractiveConsole", "compile_command"],
        "codeop" => &["compile_command", "Compile", "CommandCompiler"],
        "commands" => &["getoutput", "getstatusoutput", "getstatus"],
        "bdb" => &["Bdb", "set_trace"],
        "pdb" => &["run", "runeval", "runcall", "runctx", "set_trace", "post_mortem", "pm", "Pdb"],
        "timeit" => &["timeit", "repeat", "main", "Timer"],
        "requests" | "requests.api" => {
            &["get", "post", "put", "patch", "delete", "head", "options", "request", "Session"]
        }
        _ => &[],
    };
    // `STACK_GLOBAL` may name a part of what it takes from a module.
    let first = name.split('.').next().unwrap_or_default();
    if !whole && !function.contains(&first) {
        return Ok(());
    }
    Err(format!(
        "it asks to call {module}.{name} when it is loaded, which no saved network needs. retort ran \
         nothing of it and refuses the file; get it again from those who published it"
    ))
}

#[cfg(test)]
mod tests {
    use super::refuse;

    #[test]
    fn programs_are_refused_and_packages_of_their_names_are_not() {
        for (module, name) in [
            ("os", "system"),
            ("posix", "system"),
            ("os.path", "exists"),
            ("builtins", "eval"),
            ("builtins", "eval.__call__"),
            ("code", "interact"),
            ("code", "InteractiveInterpreter"),
            ("commands", "getoutput"),
            ("timeit", "timeit"),
            ("importlib.util", "spec_from_file_location"),
        ] {
            let why = refuse(module, name).expect_err(module);
            assert!(why.contains(&format!("it asks to call {module}.{name}")), "{why}");
        }
        for (module, name) in [
            ("code", "Net"),
            ("code.models.resnet", "ResNet"),
            ("code.utils", "interact"),
            ("commands.train", "Config"),
            ("timeit", "Net"),
            ("http", "HTTPStatus"),
            ("requests.models", "Net"),
            ("osnet", "OSNet"),
            ("system.os", "Net"),
            ("builtins", "set"),
            ("collections", "OrderedDict"),
        ] {
            assert_eq!(refuse(module, name), Ok(()), "{module}.{name}");
        }
    }
}
