//! What packing and unpacking an artifact costs here:
//! `cargo run --release -p bundle --example throughput -- ARTIFACT DIR`. The bundle and the store that it is unpacked into
//! lie in DIR, which should be on the disk that matters, and stay there.

use std::error::Error;
use std::path::Path;
use std::time::Instant;

use bundle::{Bundle, Pack};
use store::{Artifact, Store};

fn main() -> Result<(), Box<dyn Error>> {
    let [artifact, dir] =
        std::env::args().skip(1).collect::<Vec<_>>().try_into().map_err(|_| "give ARTIFACT and DIR")?;
    let (artifact, dir) = (Artifact::open(artifact)?, Path::new(&dir));
    let path = dir.join("it.samovar");
    let begun = Instant::now();
    let summary =
        Pack { artifact: &artifact, provenance: "", key: None, threads: 0 }.write(&path, &mut |_, _| {})?;
    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    let rate = |begun: Instant| {
        let seconds = begun.elapsed().as_secs_f64();
        format!("{seconds:.2} s, {:.0} MB/s", megabytes(summary.unpacked) / seconds)
    };
    println!("packed: {}", rate(begun));
    println!(
        "{:.1} MB, of which {:.1} MB zeros or twice, in {:.1} MB",
        megabytes(summary.unpacked),
        megabytes(summary.left_out),
        megabytes(summary.bytes)
    );
    let store = Store::open(dir.join("store"))?;
    let begun = Instant::now();
    Bundle::open(&path)?.unpack(&store, &mut |_, _| {})?;
    println!("unpacked: {}", rate(begun));
    Ok(())
}
