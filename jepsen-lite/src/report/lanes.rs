//! Things that overlap in time, side by side.

/// Gives each interval the first lane in which nothing else goes on meanwhile, and says how many lanes that takes.
/// The intervals come in the order of their beginnings.
pub(super) fn assign(intervals: impl IntoIterator<Item = (u64, u64)>) -> (Vec<usize>, usize) {
    let mut ends: Vec<u64> = Vec::new();
    let mut lanes = Vec::new();
    for (from, until) in intervals {
        let until = until.max(from);
        let lane = ends.iter().position(|end| *end <= from).unwrap_or(ends.len());
        match ends.get_mut(lane) {
            Some(end) => *end = until,
            None => ends.push(until),
        }
        lanes.push(lane);
    }
    (lanes, ends.len())
}

/// A process: from when to when something is known of it, and whether it ended with an unknown outcome, and so for
/// good.
#[derive(Clone, Copy, Debug)]
pub(super) struct Life {
    pub(super) from_ns: u64,
    pub(super) until_ns: u64,
    pub(super) retired: bool,
}

/// The lanes of processes: whoever begins takes the lane of the one that has just been retired, if there is one,
/// since it is most likely the same client under a new name. All others have lanes of their own.
pub(super) fn of_processes(lives: &[Life]) -> (Vec<usize>, usize) {
    let mut last: Vec<Life> = Vec::new();
    let mut lanes = Vec::new();
    for life in lives {
        let free = |(_, before): &(usize, &Life)| before.retired && before.until_ns <= life.from_ns;
        let newest = last.iter().enumerate().filter(free).max_by_key(|(_, before)| before.until_ns);
        let lane = newest.map_or(last.len(), |(lane, _)| lane);
        match last.get_mut(lane) {
            Some(before) => *before = *life,
            None => last.push(*life),
        }
        lanes.push(lane);
    }
    (lanes, last.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_overlaps_is_apart_and_what_does_not_is_not() {
        assert_eq!(assign([(0, 10), (2, 8), (8, 12), (9, 11), (12, 13)]), (vec![0, 1, 1, 2, 0], 3));
    }

    #[test]
    fn only_who_was_retired_is_followed() {
        let life = |from_ns, until_ns, retired| Life { from_ns, until_ns, retired };
        let lives = [life(0, 5, true), life(0, 6, false), life(1, 7, true), life(8, 9, true), life(8, 12, false)];
        assert_eq!(of_processes(&lives), (vec![0, 1, 2, 2, 0], 3));
        assert_eq!(of_processes(&[life(0, 5, false), life(6, 7, false)]), (vec![0, 1], 2));
    }
}
