use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::*;

fn token(number: i64) -> FencingToken {
    FencingToken(Revision(number))
}

/// A directory for a guard, and the path of its file.
fn place() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("fences");
    (dir, path)
}

fn stale(presented: i64, highest: i64) -> Result<(), FenceGuardError> {
    Err(FenceGuardError::Stale { token: token(presented), highest: token(highest) })
}

/// A file of several frames, where each frame ends, and what is admitted by then.
fn file_of_frames() -> (Vec<u8>, Vec<(usize, Tokens)>) {
    let mut file = header(VERSION);
    let mut admitted = Tokens::new();
    let mut ends = vec![(file.len(), admitted.clone())];
    for (number, slots) in [(33, &["a", "b"][..]), (34, &["a"]), (35, &["resource with a longer name", "\0\0"])] {
        let raised: Tokens =
            slots.iter().map(|name| (Slot::new(name.as_bytes(), number as u32 % 2).unwrap(), token(number))).collect();
        file.extend(frames(&raised));
        admitted.extend(raised);
        ends.push((file.len(), admitted.clone()));
    }
    (file, ends)
}

fn tokens_at(path: &Path) -> Tokens {
    FenceGuard::open(path).unwrap().memory().admitted.clone()
}

#[test]
fn a_holder_that_slept_is_shut_out_by_the_next() {
    let (_dir, path) = place();
    let guard = FenceGuard::open(path).unwrap();
    assert_eq!(guard.highest("file", 0), None);
    assert_eq!(guard.admit("file", 0, token(33)), Ok(()));
    assert_eq!(guard.admit("file", 0, token(33)), Ok(()), "it holds the lock still, or shares it");
    assert_eq!(guard.admit("file", 0, token(34)), Ok(()));
    assert_eq!(guard.admit("file", 0, token(33)), stale(33, 34));
    assert_eq!(guard.admit("file", 0, token(34)), Ok(()));
    assert_eq!(guard.highest("file", 0), Some(token(34)));
    assert_eq!(guard.admit("another file", 0, token(1)), Ok(()));
}

#[test]
fn permits_do_not_shut_each_other_out() {
    let (_dir, path) = place();
    let guard = FenceGuard::open(path).unwrap();
    for (permit, number) in [(2, 40), (0, 33), (u32::MAX, 35), (2, 41), (0, 33)] {
        assert_eq!(guard.admit("pool", permit, token(number)), Ok(()));
    }
    assert_eq!(guard.admit("pool", 2, token(40)), stale(40, 41));
    assert_eq!([0, 1, 2].map(|permit| guard.highest("pool", permit)), [Some(token(33)), None, Some(token(41))]);
}

#[test]
fn what_is_no_resource_or_no_token_is_refused() {
    let (_dir, path) = place();
    let guard = FenceGuard::open(path).unwrap();
    for bytes in [0, 4097] {
        let refused = Err(FenceGuardError::ResourceLength { bytes });
        assert_eq!(guard.admit(vec![7; bytes], 0, token(1)), refused);
        assert_eq!(guard.highest(vec![7; bytes], 0), None);
    }
    for number in [0, -1, i64::MIN] {
        let refused = Err(FenceGuardError::NotAToken { token: token(number) });
        assert_eq!(guard.admit("file", 0, token(number)), refused);
    }
    assert_eq!(guard.admit([0; 4096], 0, token(i64::MAX)), Ok(()));
    assert_eq!(guard.admit([0], 0, token(1)), Ok(()));
}

#[test]
fn it_remembers_after_a_restart() {
    let (_dir, path) = place();
    for round in 1..5 {
        let guard = FenceGuard::open(&path).unwrap();
        assert_eq!(guard.admit("file", 0, token(10 * round)), Ok(()));
        assert_eq!(guard.admit([0xff; 4096], 7, token(10 * round + 1)), Ok(()));
        assert_eq!(guard.admit("file", 0, token(10 * round - 1)), stale(10 * round - 1, 10 * round));
        assert_eq!(guard.highest([0xff; 4096], 7), Some(token(10 * round + 1)));
    }
    let guard = FenceGuard::open(&path).unwrap();
    assert_eq!(guard.admit("file", 0, token(39)), stale(39, 40));
}

/// What `admit` has answered `Ok` to must be in the file by then: a crash right after it leaves the file as it is.
#[test]
fn what_was_admitted_is_in_the_file_before_the_answer() {
    let (_dir, path) = place();
    let guard = FenceGuard::open(&path).unwrap();
    for number in 1..20 {
        guard.admit("file", 0, token(number)).unwrap();
        let tokens = read_file(&path, &fs::read(&path).unwrap()).unwrap();
        assert_eq!(tokens[&Slot::new(b"file", 0).unwrap()], token(number));
    }
    let bytes = fs::metadata(&path).unwrap().len();
    guard.admit("file", 0, token(19)).unwrap();
    guard.admit("file", 0, token(18)).unwrap_err();
    assert_eq!(fs::metadata(&path).unwrap().len(), bytes, "neither an equal nor a stale token is written");
}

/// Cut at every byte, with and without zeros behind: the whole frames before are kept, and the guard goes on from
/// there.
#[test]
fn a_torn_tail_is_cut_off() {
    let (_dir, path) = place();
    let (file, ends) = file_of_frames();
    for cut in HEADER_BYTES..=file.len() {
        let expected = &ends.iter().rev().find(|(end, _)| *end <= cut).unwrap().1;
        for zeros in [0, 1, 5000] {
            fs::write(&path, [&file[..cut], &vec![0; zeros]].concat()).unwrap();
            assert_eq!(tokens_at(&path), *expected, "cut at {cut}, {zeros} zeros");
            assert_eq!(fs::read(&path).unwrap(), write_file(expected), "nothing is left of the tail");
        }
    }
}

/// A tail that was left in place would be damage in the middle once something stands behind it.
#[test]
fn behind_a_torn_tail_it_goes_on() {
    let (_dir, path) = place();
    let (file, _) = file_of_frames();
    fs::write(&path, &file[..file.len() - 3]).unwrap();
    FenceGuard::open(&path).unwrap().admit("a", 1, token(50)).unwrap();
    let guard = FenceGuard::open(&path).unwrap();
    assert_eq!(guard.highest("a", 1), Some(token(50)));
    assert_eq!(guard.highest("b", 1), Some(token(33)));
}

/// Every single bit, of the last frame too: that has been acknowledged, so taking it for a torn one would forget it.
#[test]
fn no_flipped_bit_makes_it_forget() {
    let (_dir, path) = place();
    let (file, _) = file_of_frames();
    for bit in 0..file.len() * 8 {
        let mut flipped = file.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        match read_file(&path, &flipped).unwrap_err() {
            FenceGuardError::NotAGuard { .. } => assert!(bit < 8 * MAGIC.len(), "bit {bit}"),
            FenceGuardError::Damaged { offset, .. } => assert!(offset <= bit as u64 / 8, "bit {bit}"),
            other => panic!("bit {bit}: {other}"),
        }
    }
}

#[test]
fn damage_in_the_middle_is_refused_and_left_as_it_is() {
    let (_dir, path) = place();
    let (file, ends) = file_of_frames();
    let mut flipped = file.clone();
    flipped[ends[1].0 + FRAME_HEAD_BYTES] ^= 1;
    let mut zeroed = file.clone();
    zeroed[ends[1].0..ends[2].0].fill(0);
    for damaged in [flipped, zeroed] {
        fs::write(&path, &damaged).unwrap();
        let error = FenceGuard::open(&path).unwrap_err();
        assert!(matches!(error, FenceGuardError::Damaged { offset, .. } if offset == ends[1].0 as u64), "{error}");
        assert!(error.to_string().contains("Stop every client"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), damaged);
    }
}

#[test]
fn a_newer_version_is_refused_and_left_as_it_is() {
    let (_dir, path) = place();
    let newer = [&header(VERSION + 1)[..], b"whatever that release writes"].concat();
    fs::write(&path, &newer).unwrap();
    let error = FenceGuard::open(&path).unwrap_err();
    assert_eq!(error, FenceGuardError::UnknownVersion { path: path.canonicalize().unwrap(), found: 2, known: 1 });
    assert_eq!(fs::read(&path).unwrap(), newer);
}

/// An empty one too: it may be what is left of a file that had tokens.
#[test]
fn another_programs_file_is_refused_and_left_as_it_is() {
    let (_dir, path) = place();
    for foreign in [&b""[..], &MAGIC, &[0; 100], b"[server]\nlisten = \"127.0.0.1:80\"\n"] {
        fs::write(&path, foreign).unwrap();
        let error = FenceGuard::open(&path).unwrap_err();
        assert_eq!(error, FenceGuardError::NotAGuard { path: path.canonicalize().unwrap() });
        assert_eq!(fs::read(&path).unwrap(), foreign);
    }
}

#[test]
fn a_second_opener_is_turned_away() {
    let (dir, path) = place();
    let guard = FenceGuard::open(&path).unwrap();
    guard.admit("file", 0, token(33)).unwrap();
    let link = dir.path().join("link");
    symlink(&path, &link).unwrap();
    for name in [&path, &link] {
        let error = FenceGuard::open(name).unwrap_err();
        assert_eq!(error, FenceGuardError::InUse { path: path.canonicalize().unwrap() });
    }
    guard.admit("file", 0, token(34)).unwrap();
    drop(guard);
    assert_eq!(FenceGuard::open(&link).unwrap().highest("file", 0), Some(token(34)));
    assert!(link.is_symlink(), "the file is replaced, not the link to it");
}

/// It may lead to a volume that is not mounted.
#[test]
fn a_link_that_leads_nowhere_is_no_new_guard() {
    let (dir, path) = place();
    symlink(dir.path().join("nowhere"), &path).unwrap();
    let error = FenceGuard::open(&path).unwrap_err();
    assert!(matches!(error, FenceGuardError::Open { .. }), "{error}");
}

#[test]
fn the_file_is_written_anew_when_it_is_long_and_keeps_everything() {
    let (_dir, path) = place();
    let guard = FenceGuard::open_with(&path, 2000).unwrap();
    let mut longest = 0;
    for number in 1..=2000 {
        guard.admit(format!("file {}", number % 10), number as u32 % 3, token(number)).unwrap();
        longest = longest.max(fs::metadata(&path).unwrap().len());
    }
    let admitted = guard.memory().admitted.clone();
    assert_eq!(admitted.len(), 30);
    let live = write_file(&admitted).len() as u64;
    assert!((2000..REWRITE_GROWTH * live + 100).contains(&longest), "{longest} bytes for {live}");
    drop(guard);
    assert_eq!(tokens_at(&path), admitted);
    assert_eq!(fs::metadata(&path).unwrap().len(), live);
}

/// Before the rename the old file has everything, however much of the new one is there.
#[test]
fn a_crash_while_the_file_is_written_anew_is_harmless() {
    let (_dir, path) = place();
    let (file, ends) = file_of_frames();
    for left_over in [&file[..], &file[..file.len() / 2], b"", b"anything"] {
        fs::write(&path, &file).unwrap();
        fs::write(beside(&path, ".new"), left_over).unwrap();
        assert_eq!(tokens_at(&path), ends.last().unwrap().1);
        assert!(!beside(&path, ".new").exists());
    }
}

/// A disk that is too full for a second file need not be too full for a record.
#[test]
fn it_goes_on_with_the_old_file_if_there_can_be_no_new_one() {
    let (_dir, path) = place();
    let guard = FenceGuard::open_with(&path, 100).unwrap();
    let in_the_way = beside(&path, ".new");
    fs::create_dir(&in_the_way).unwrap();
    for number in 1..100 {
        assert_eq!(guard.admit("file", 0, token(number)), Ok(()));
    }
    assert!(fs::metadata(&path).unwrap().len() > 2000);
    fs::remove_dir(&in_the_way).unwrap();
    for number in 100..300 {
        assert_eq!(guard.admit("file", 0, token(number)), Ok(()));
    }
    assert!(fs::metadata(&path).unwrap().len() < 2000, "it is tried again");
    drop(guard);
    assert_eq!(tokens_at(&path).into_values().collect::<Vec<_>>(), [token(299)]);
}

/// A pipe takes writes and cannot be synced; a file that is open for reading cannot be written.
#[test]
fn after_a_failed_write_or_sync_nothing_is_admitted_any_more() {
    let (_dir, path) = place();
    let (_reader, writer) = io::pipe().unwrap();
    for bad in [File::from(OwnedFd::from(writer)), File::open("/dev/null").unwrap()] {
        let guard = FenceGuard::open(&path).unwrap();
        guard.admit("file", 0, token(33)).unwrap();
        let good = std::mem::replace(&mut guard.log.lock().unwrap().file, bad);
        let failed = guard.admit("file", 0, token(34)).unwrap_err();
        assert!(matches!(failed, FenceGuardError::Failed { .. }), "{failed}");
        assert!(failed.to_string().contains("restart this server"), "{failed}");

        guard.log.lock().unwrap().file = good; // the disk seems well again
        for (resource, number) in [("file", 34), ("file", 33), ("file", 35), ("another file", 1)] {
            assert_eq!(guard.admit(resource, 0, token(number)), Err(failed.clone()));
        }
        assert_eq!(guard.highest("file", 0), Some(token(33)));
        drop(guard);
        assert_eq!(FenceGuard::open(&path).unwrap().admit("file", 0, token(33)), Ok(()), "a restart helps");
    }
}

/// Nobody knows then whether a restart will find the old file or the new one.
#[test]
fn a_file_that_cannot_take_its_place_is_the_end() {
    let (_dir, path) = place();
    let guard = FenceGuard::open_with(&path, 100).unwrap();
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap(); // no file can be renamed to this
    let failed = (1..100).find_map(|number| guard.admit("file", 0, token(number)).err());
    let failed = failed.expect("it becomes long soon");
    assert!(failed.to_string().contains("failed to replace"), "{failed}");
    assert_eq!(guard.admit("file", 0, token(100)), Err(failed));
}

/// Each thread brings tokens that rise, now behind and now ahead of the others'. None is admitted below one that had
/// been admitted before it came, and a restart knows the highest.
#[test]
fn many_threads_at_once_agree() {
    const THREADS: i64 = 8;
    let (_dir, path) = place();
    let guard = FenceGuard::open_with(&path, 1000).unwrap();
    let admitted = thread::scope(|scope| {
        let work = |thread: i64| {
            let guard = &guard;
            move || {
                let mut admitted = Vec::new();
                for round in 1..=100 {
                    let (permit, number) = (round as u32 % 3, THREADS * round + thread);
                    let before = guard.highest("file", permit);
                    match guard.admit("file", permit, token(number)) {
                        Ok(()) => {
                            assert!(before <= Some(token(number)), "{number} was admitted after {before:?}");
                            assert!(guard.highest("file", permit) >= Some(token(number)));
                            admitted.push((permit, token(number)));
                        }
                        Err(FenceGuardError::Stale { highest, .. }) => assert!(highest > token(number)),
                        Err(other) => panic!("{other}"),
                    }
                }
                admitted
            }
        };
        let threads: Vec<_> = (0..THREADS).map(|thread| scope.spawn(work(thread))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    assert!(guard.memory().raised.is_empty());
    drop(guard);
    let guard = FenceGuard::open(&path).unwrap();
    for permit in 0..3 {
        let highest = admitted.iter().filter(|(of, _)| *of == permit).map(|(_, token)| *token).max();
        assert_eq!(guard.highest("file", permit), highest);
    }
}

/// Eight wait while the log is busy; of two that present different tokens of one resource the lower is refused.
#[test]
fn those_who_wait_at_the_same_time_share_one_write() {
    let (_dir, path) = place();
    let guard = FenceGuard::open(&path).unwrap();
    let begin = Barrier::new(9);
    let answers = thread::scope(|scope| {
        let busy = guard.log.lock().unwrap();
        let work = |number: i64| {
            let (guard, begin) = (&guard, &begin);
            move || {
                begin.wait();
                guard.admit(format!("file {}", number / 2), 0, token(number))
            }
        };
        let threads: Vec<_> = (2..10).map(|number| scope.spawn(work(number))).collect();
        begin.wait();
        let highest_of_each = || [3, 5, 7, 9].map(|number| Some(token(number)));
        let begun = Instant::now();
        while (1..5).map(|file| raised(&guard, file)).ne(highest_of_each()) {
            assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", guard.memory().raised);
            thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(guard.highest("file 1", 0), None, "it is not on the disk yet");
        drop(busy);
        threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    for (number, answer) in (2..10).zip(answers) {
        let expected = if number % 2 == 0 { stale(number, number + 1) } else { Ok(()) };
        assert_eq!(answer, expected, "token {number}");
    }
    assert_eq!(fs::read(&path).unwrap(), write_file(&guard.memory().admitted), "a header and one frame");
}

fn raised(guard: &FenceGuard, file: u32) -> Option<FencingToken> {
    guard.memory().raised.get(&Slot::new(format!("file {file}").as_bytes(), 0).unwrap()).copied()
}

#[test]
fn a_long_list_of_tokens_is_several_frames() {
    let tokens: Tokens = (1..1000).map(|n| (Slot::new(&[n as u8; 4000], n as u32).unwrap(), token(n))).collect();
    let file = write_file(&tokens);
    assert_eq!(read_file(Path::new("fences"), &file), Ok(tokens));
    let [l0, l1, l2, l3] = *file[HEADER_BYTES..].first_chunk().unwrap();
    assert!(u32::from_be_bytes([l0, l1, l2, l3]) < FRAME_BYTES_SOFT_MAX as u32 + 5000);
}
