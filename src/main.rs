//! The `mdmq` program: parses the command line and hands over to [`mdmq::cli`].

fn main() -> std::process::ExitCode {
    mdmq::cli::main()
}
