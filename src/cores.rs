//! Who uses which cores. Threads that serve connected devices run wherever there is room; those for strangers, people and back ends keep to
//! the second half of the cores. So whatever keeps that half busy, the first one is there for devices.

use std::{num::NonZero, sync::OnceLock};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The second half. `None`: there is one core, or the system does not say.
static ASIDE: OnceLock<Option<CpuSet>> = OnceLock::new();
/// Threads of a kind at most, on machines with more cores.
const THREADS_MAX: usize = 64;

/// How many threads serve connected devices. With one for each core they would take work and memory from each other, and a CONNECT would
/// cost more.
pub fn device_threads() -> usize {
    cores().div_ceil(2)
}

/// How many threads of a kind there are aside.
pub fn threads_aside() -> usize {
    (cores() / 2).clamp(1, THREADS_MAX)
}

/// From now on the calling thread, and whatever threads it starts, keep to the second half of the cores and are so much nicer than before.
/// What the system forbids is left as it is.
pub fn step_aside(niceness: i32) {
    // On Linux both are about the calling thread alone.
    let _ = rustix::process::nice(niceness);
    if let Some(second_half) = ASIDE.get_or_init(second_half) {
        let _ = sched_setaffinity(None, second_half);
    }
}

/// Cores that the process may keep busy.
fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}

/// Half of those on which the calling thread may run.
fn second_half() -> Option<CpuSet> {
    let mut cores = sched_getaffinity(None).ok()?;
    let first_half: Vec<usize> =
        (0..CpuSet::MAX_CPU).filter(|it| cores.is_set(*it)).take(cores.count() as usize / 2).collect();
    first_half.iter().for_each(|it| cores.unset(*it));
    (!first_half.is_empty()).then_some(cores)
}
