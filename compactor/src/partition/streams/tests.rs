use bytes::Bytes;
use ingest::bulk;
use ingest::env::FilePath;
use ingest::ids::{BulkId, PartitionId, StoreId};
use ingest::place::PerPlace;
use simulator::{Sim, SimDisk};

use super::*;

const TIME: WallTime = WallTime::from_micros(1_700_000_000_000_000);
const HOUR: i64 = 3_600_000_000;

fn options(next: BulkId) -> bulk::BulkOptions {
    bulk::BulkOptions {
        folder: FilePath::new("bulk"),
        store: StoreId([1; 16]),
        partition: PartitionId::ZERO,
        next: PerPlace::each(|place| BulkId::of(place, next.number())),
        file_bytes_max: 1 << 20,
        sync_bytes: 1 << 20,
        reserve_bytes: 0,
    }
}

fn id(number: u8) -> StreamId {
    StreamId([number; 16])
}

/// Bytes of a stream, each stream's its own.
fn content(stream: u8, len: usize) -> Bytes {
    (0..len).map(|at| (at as u8).wrapping_mul(31) ^ stream).collect::<Vec<u8>>().into()
}

/// The pieces of a stream.
fn pieces(stream: u8, len: usize) -> Vec<StreamPiece> {
    let whole = content(stream, len);
    let piece = |(index, bytes): (usize, &[u8])| StreamPiece {
        stream: id(stream),
        index: index as u32,
        total: len as u64,
        bytes: Bytes::copy_from_slice(bytes),
    };
    whole.chunks(FRAME_PAYLOAD_MAX as usize).enumerate().map(piece).collect()
}

async fn read(bulk: &Arc<BulkFiles>, whole: &WholeStream) -> Vec<u8> {
    let mut reader = bulk.read(whole.extents.clone(), 0..whole.len);
    let mut all = Vec::new();
    while let Some(bytes) = reader.next().await.unwrap() {
        all.extend_from_slice(&bytes);
    }
    all
}

#[test]
fn interleaved_streams_come_out_whole_whatever_is_repeated() {
    let sim = Sim::new(3);
    let disk = SimDisk::new(&sim);
    let run = sim.block_on(&disk, async {
        let bulk = BulkFiles::open(sim.env(&disk), options(BulkId::new(1))).await.unwrap();
        let mut streams = OpenStreams::default();
        let (a, b) = (pieces(1, 200_000), pieces(2, 150_001));
        for (a, b) in a.iter().zip(b.iter().map(Some).chain(std::iter::repeat(None))) {
            streams.take(&bulk, a, TIME).await.unwrap();
            // Each piece comes twice, and the first of all again at every turn.
            for again in [Some(a), b, b, Some(&pieces(1, 200_000)[0])].into_iter().flatten() {
                streams.take(&bulk, again, TIME).await.unwrap();
            }
        }
        for (stream, len) in [(1u8, 200_000usize), (2, 150_001)] {
            let records = pieces(stream, len).len() as u32;
            let named = StreamRef { stream: id(stream), records };
            let whole = streams.end(&named).await.unwrap().unwrap();
            assert_eq!(whole.len, len as u64);
            assert_eq!(read(&bulk, &whole).await, content(stream, len));
            let digest = crc_fast::checksum(CrcAlgorithm::Crc64Nvme, &content(stream, len));
            assert_eq!(whole.digest, digest);
            assert!(streams.end(&named).await.unwrap().is_none(), "it is over");
        }
    });
    run.unwrap();
}

#[test]
fn a_stream_with_a_gap_or_of_odd_pieces_is_never_whole() {
    let sim = Sim::new(4);
    let disk = SimDisk::new(&sim);
    let run = sim.block_on(&disk, async {
        let bulk = BulkFiles::open(sim.env(&disk), options(BulkId::new(1))).await.unwrap();
        let mut streams = OpenStreams::default();
        let all = pieces(1, 200_000);
        for piece in [&all[0], &all[2], &all[3]] {
            streams.take(&bulk, piece, TIME).await.unwrap();
        }
        let named = StreamRef { stream: id(1), records: 4 };
        assert!(streams.end(&named).await.unwrap().is_none());
        let odd = StreamPiece { bytes: content(2, 100), total: 300, stream: id(2), index: 0 };
        streams.take(&bulk, &odd, TIME).await.unwrap();
        let named = StreamRef { stream: id(2), records: 1 };
        assert!(streams.end(&named).await.unwrap().is_none());
        let unheard = StreamRef { stream: id(9), records: 1 };
        assert!(streams.end(&unheard).await.unwrap().is_none());
    });
    run.unwrap();
}

#[test]
fn a_later_life_goes_on_where_a_cut_left_off() {
    // In one file, and in two. All of it may have come when the cut is made, and the record that names it not yet.
    for frames in [5, 20] {
        for came in 1..=frames + 1 {
            goes_on_behind(frames, came);
        }
    }
}

/// Pieces that announce more than comes; the last says how much came.
fn shortened(stream: u8, len: usize, announced: u64) -> Vec<StreamPiece> {
    let mut pieces = pieces(stream, len);
    let last = pieces.len() - 1;
    pieces[..last].iter_mut().for_each(|piece| piece.total = announced);
    pieces
}

/// A browser's file: its length is known at its end, and all nodes, those that start in between as well, take the
/// same bytes.
#[test]
fn a_stream_that_ends_early_is_whole_with_its_last_piece() {
    let frame = FRAME_PAYLOAD_MAX as usize;
    for (len, cut) in [1, frame - 1, frame, frame + 1, 3 * frame, 20 * frame + 17]
        .into_iter()
        .flat_map(|len| [None, Some(1), Some(2), Some(19)].map(|cut| (len, cut)))
    {
        let sim = Sim::new(9);
        let disk = SimDisk::new(&sim);
        let run = sim.block_on(&disk, async {
            let all = shortened(1, len, 5_000_000);
            let mut bulk = BulkFiles::open(sim.env(&disk), options(BulkId::new(1))).await.unwrap();
            let mut streams = OpenStreams::default();
            for (index, piece) in all.iter().enumerate() {
                // A piece that says less and is not the last is no piece of the stream.
                let odd = StreamPiece { total: 4_000_000, ..piece.clone() };
                if index > 0 && index + 1 < all.len() {
                    streams.take(&bulk, &odd, TIME).await.unwrap();
                }
                streams.take(&bulk, piece, TIME).await.unwrap();
                if cut == Some(index + 1) {
                    let kept = streams.freeze(TIME);
                    bulk.sync_written().await.unwrap();
                    drop(streams);
                    sim.sleep(Duration::from_secs(1)).await;
                    bulk = BulkFiles::open(sim.env(&disk), options(BulkId::new(1))).await.unwrap();
                    streams = OpenStreams::default();
                    let state = StreamState::decode(kept[0].1.clone().unwrap()).unwrap();
                    streams.restore(id(1), state);
                }
            }
            // Whatever follows the last piece does not count.
            let more = StreamPiece { index: all.len() as u32, total: 5_000_000, ..all[0].clone() };
            streams.take(&bulk, &more, TIME).await.unwrap();
            let named = StreamRef { stream: id(1), records: all.len() as u32 };
            let whole = streams.end(&named).await.unwrap().unwrap();
            let digest = crc_fast::checksum(CrcAlgorithm::Crc64Nvme, &content(1, len));
            assert_eq!((whole.len, whole.digest), (len as u64, digest), "{len} {cut:?}");
            assert_eq!(read(&bulk, &whole).await, content(1, len), "{len} {cut:?}");
        });
        run.unwrap();
    }
}

/// A cut after so many pieces of a stream, and a later life that meets them all again.
fn goes_on_behind(frames: usize, came: usize) {
    let sim = Sim::new(5);
    let disk = SimDisk::new(&sim);
    let len = frames * FRAME_PAYLOAD_MAX as usize + 17;
    let run = sim.block_on(&disk, async {
        let all = pieces(7, len);
        let mut kept = Vec::new();
        {
            let bulk = BulkFiles::open(sim.env(&disk), options(BulkId::new(1))).await.unwrap();
            let mut streams = OpenStreams::default();
            for piece in &all[..came] {
                streams.take(&bulk, piece, TIME).await.unwrap();
            }
            kept.extend(streams.freeze(TIME));
            // What comes after the cut is lost with this life.
            if let Some(next) = all.get(came) {
                streams.take(&bulk, next, TIME).await.unwrap();
            }
            bulk.sync_written().await.unwrap();
        }
        // A clean stop drops the streams, and time passes.
        sim.sleep(Duration::from_secs(1)).await;
        let [(key, Some(value))] = &kept[..] else { panic!("one stream: {kept:?}") };
        assert_eq!(*key, StateKey::stream(id(7)));
        let bulk = BulkFiles::open(sim.env(&disk), options(BulkId::new(1))).await.unwrap();
        let mut streams = OpenStreams::default();
        streams.restore(id(7), StreamState::decode(value.clone()).unwrap());
        for piece in &all {
            streams.take(&bulk, piece, TIME).await.unwrap();
        }
        let named = StreamRef { stream: id(7), records: all.len() as u32 };
        let whole = streams.end(&named).await.unwrap().unwrap();
        assert_eq!(read(&bulk, &whole).await, content(7, len));
        // The next cut says that it is over.
        assert_eq!(streams.freeze(TIME), vec![(StateKey::stream(id(7)), None)]);
        assert!(streams.freeze(TIME).is_empty());
    });
    run.unwrap();
}

#[test]
fn a_silent_stream_ends_at_a_cut_by_the_log_time() {
    let sim = Sim::new(6);
    let disk = SimDisk::new(&sim);
    let run = sim.block_on(&disk, async {
        let bulk = BulkFiles::open(sim.env(&disk), options(BulkId::new(1))).await.unwrap();
        let mut streams = OpenStreams::default();
        streams.take(&bulk, &pieces(1, 100_000)[0], TIME).await.unwrap();
        let later = WallTime::from_micros(TIME.micros() + HOUR);
        assert!(streams.freeze(later)[0].1.is_some(), "not yet");
        let later = WallTime::from_micros(later.micros() + 1);
        assert_eq!(streams.freeze(later), vec![(StateKey::stream(id(1)), None)]);
        assert_eq!(streams.count(), 0);
    });
    run.unwrap();
}

/// Bytes that the bulk files take beside their headers, once what is given back has been.
async fn taken(sim: &Sim, disk: &SimDisk, bulk: &BulkFiles) -> u64 {
    sim.sleep(Duration::from_secs(1)).await;
    disk.used_bytes() - bulk.list().await.unwrap().len() as u64 * 4096
}

/// A stream that ends without a record leaves nothing, in whichever way it ends.
#[test]
fn a_stream_that_comes_to_nothing_gives_its_space_back() {
    for way in 0..4 {
        for cuts_between in [false, true] {
            let sim = Sim::new(7);
            let disk = SimDisk::new(&sim);
            let run = sim.block_on(&disk, async {
                let bulk = BulkFiles::open(sim.env(&disk), options(BulkId::new(1))).await.unwrap();
                let mut streams = OpenStreams::default();
                // Announced: much more than a file; sent: three pieces.
                for piece in &pieces(1, 5_000_000)[..3] {
                    streams.take(&bulk, piece, TIME).await.unwrap();
                }
                assert!(disk.used_bytes() < 1_000_000, "{} taken", disk.used_bytes());
                if cuts_between {
                    streams.freeze(TIME);
                }
                match way {
                    0 => streams.abandon(id(1)),
                    1 => {
                        let later = WallTime::from_micros(TIME.micros() + HOUR + 1);
                        streams.freeze(later);
                    }
                    2 => {
                        let named = StreamRef { stream: id(1), records: 3 };
                        assert!(streams.end(&named).await.unwrap().is_none());
                    }
                    _ => {
                        // All of it comes, and its record is refused.
                        for piece in &pieces(1, 5_000_000)[3..] {
                            streams.take(&bulk, piece, TIME).await.unwrap();
                        }
                        let named = StreamRef { stream: id(1), records: 77 };
                        let whole = streams.end(&named).await.unwrap().unwrap();
                        whole.guard.unwrap().give_back();
                    }
                }
                assert_eq!(streams.count(), 0);
                assert_eq!(taken(&sim, &disk, &bulk).await, 0, "way {way}");
            });
            run.unwrap();
        }
    }
}

/// A node without room must not stand still: what makes room stands further on in the log.
#[test]
fn a_stream_without_room_is_missing_and_judged_as_everywhere() {
    for (capacity, cuts_after) in [(0, None), (150_000, None), (150_000, Some(2)), (0, Some(0))] {
        let sim = Sim::new(8);
        let disk = SimDisk::new(&sim);
        let run = sim.block_on(&disk, async {
            let bulk = BulkFiles::open(sim.env(&disk), options(BulkId::new(1))).await.unwrap();
            let mut streams = OpenStreams::default();
            disk.set_capacity(Some(disk.used_bytes() + capacity));
            let mut kept = Vec::new();
            let mut turns = 0;
            for (index, piece) in pieces(1, 500_000).iter().enumerate() {
                turns += u32::from(streams.take(&bulk, piece, TIME).await.unwrap());
                if cuts_after == Some(index) {
                    kept = streams.freeze(TIME);
                }
            }
            assert_eq!(turns, 1, "it comes to be missing once");
            let named = StreamRef { stream: id(1), records: 8 };
            let whole = streams.end(&named).await.unwrap().unwrap();
            let digest = crc_fast::checksum(CrcAlgorithm::Crc64Nvme, &content(1, 500_000));
            assert_eq!((whole.len, whole.digest), (500_000, digest));
            assert_eq!(*whole.extents, [Extent::missing(500_000)]);
            let refused = bulk.read(whole.extents.clone(), 0..500_000).next().await;
            let is_clear = matches!(refused, Err(ingest::log::ReadError::Unavailable { .. }));
            assert!(is_clear, "{refused:?}");
            let taken = taken(&sim, &disk, &bulk).await;
            let is_named = kept.iter().any(|(_, state)| {
                let state = StreamState::decode(state.clone().unwrap()).unwrap();
                !state.extents.iter().any(Extent::is_missing)
            });
            assert_eq!(taken > 0, is_named, "{taken} bytes are taken");
            // What a state run names is there for a start that has more room.
            disk.set_capacity(None);
            let Some((_, Some(value))) = kept.first() else { return };
            let state = StreamState::decode(value.clone()).unwrap();
            let mut streams = OpenStreams::default();
            streams.restore(id(1), state);
            for piece in &pieces(1, 500_000) {
                streams.take(&bulk, piece, TIME).await.unwrap();
            }
            let whole = streams.end(&named).await.unwrap().unwrap();
            if is_named {
                assert_eq!(read(&bulk, &whole).await, content(1, 500_000));
            } else {
                assert_eq!(*whole.extents, [Extent::missing(500_000)]);
            }
        });
        run.unwrap();
    }
}
