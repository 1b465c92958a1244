//! Frames: the invariants of every request, and the memory that parsing one takes.
#![no_main]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use hark::commands::Command;
use hark::wire::frame;
use hark_fuzz::frames::{self, LIMITS};
use libfuzzer_sys::fuzz_target;

/// Maximum number of bytes of memory for each byte of a frame: an empty field (`"":0,`) becomes an entry of a hash
/// table that is at least half full.
const MAX_MEMORY_PER_BYTE: usize = 64;
/// Maximum number of bytes of memory besides, for each frame.
const MAX_MEMORY_PER_FRAME: usize = 4096;

/// The system allocator, with a count of the bytes in use.
struct Metered;

static IN_USE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is passed to the system allocator unchanged.
unsafe impl GlobalAlloc for Metered {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let in_use = IN_USE.fetch_add(layout.size(), Relaxed) + layout.size();
        PEAK.fetch_max(in_use, Relaxed);
        // SAFETY: the caller upholds the contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller upholds the contract.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Metered = Metered;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(text) = std::str::from_utf8(bytes) {
        // Initialised before the measurement.
        LazyLock::force(&LIMITS);
        let before = IN_USE.load(Relaxed);
        PEAK.store(before, Relaxed);
        drop(frame::parse(text).map(|request| Command::parse(&request, &LIMITS)));
        let memory = PEAK.load(Relaxed) - before;
        assert!(memory <= MAX_MEMORY_PER_BYTE * text.len() + MAX_MEMORY_PER_FRAME, "{memory} bytes for {}", text.len());
    }
    frames::check(bytes);
});
