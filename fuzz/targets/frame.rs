//! A frame: what holds of every request, and what reading one costs.
#![no_main]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use hark::commands::Command;
use hark::wire::frame;
use hark_fuzz::frames::{self, LIMITS};
use libfuzzer_sys::fuzz_target;

/// Most bytes that reading a frame takes for each byte of it: an empty field (`"":0,`) becomes an
/// entry of a table that is at most half empty.
const COST_OF_A_BYTE: usize = 64;
const COST_OF_A_FRAME: usize = 4096;

/// The system's allocator, and how much of it is in use.
struct Metered;

static IN_USE: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Metered {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let in_use = IN_USE.fetch_add(layout.size(), Relaxed) + layout.size();
        MOST.fetch_max(in_use, Relaxed);
        // SAFETY: as the caller vouches.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as the caller vouches.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Metered = Metered;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(text) = std::str::from_utf8(bytes) {
        // Made once, and not by this frame.
        LazyLock::force(&LIMITS);
        let before = IN_USE.load(Relaxed);
        MOST.store(before, Relaxed);
        drop(frame::parse(text).map(|request| Command::parse(&request, &LIMITS)));
        let cost = MOST.load(Relaxed) - before;
        assert!(cost <= COST_OF_A_BYTE * text.len() + COST_OF_A_FRAME, "{cost} bytes for {}", text.len());
    }
    frames::check(bytes);
});
