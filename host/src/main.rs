//! The program `retort`.

fn main() -> std::process::ExitCode {
    retort_host::main()
}
