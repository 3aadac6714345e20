//! The `mdmq` program: parses the command line and hands over to [`mdmq::cli`].

/// The system's allocator asks the kernel for memory page by page in every thread but the first.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    mdmq::cli::main()
}
