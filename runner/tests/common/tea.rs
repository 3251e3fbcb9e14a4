//! Typing into a `hello` guest that a test runs itself.

use std::time::{Duration, Instant};

use runner::{
    live::Live,
    picture::Frame,
    session::{Guest, Progress},
};

/// Linux's codes of the keys of `tea` and Enter (`input-event-codes.h`).
const TEA: [u16; 4] = [20, 18, 30, 28];

/// Longer than an answer takes in an emulated host on a slow machine.
const PATIENCE: Duration = Duration::from_secs(600);

/// Types `tea`, and runs until the guest has said so and its screen holds still, which it returns.
pub fn type_tea(live: &mut Live) -> Frame {
    for key in TEA {
        for pressed in [true, false] {
            live.key(key, pressed);
            run_for(live, Duration::from_millis(50));
        }
    }
    let mut said = Vec::new();
    let start = Instant::now();
    while !String::from_utf8_lossy(&said).contains("hello: tea") {
        assert!(start.elapsed() < PATIENCE, "{}", String::from_utf8_lossy(&said));
        run_for(live, Duration::from_millis(10));
        said.extend(live.take_console());
    }
    let mut before = live.screen_generation();
    loop {
        run_for(live, Duration::from_millis(700));
        let now = live.screen_generation();
        if now == before {
            return live.screen().unwrap();
        }
        before = now;
    }
}

fn run_for(live: &mut Live, time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time {
        match live.run(Duration::from_millis(5)).unwrap() {
            Progress::Running => {}
            Progress::Idle(_) => std::thread::sleep(Duration::from_millis(2)),
            end => panic!("{end:?}"),
        }
    }
}
