//! The `mdmq` program: parses the command line and hands over to [`mdmq::cli`].

use mimalloc::MiMalloc;
use zeroizing_alloc::ZeroAlloc;

/// The system's allocator asks the kernel for memory page by page in every thread but the first. What is freed is overwritten: secrets
/// pass through buffers of TLS, JSON and HTTP that know nothing of them.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<MiMalloc> = ZeroAlloc(MiMalloc);

fn main() -> std::process::ExitCode {
    mdmq::cli::main()
}
