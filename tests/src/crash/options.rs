/// What a run is asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Rounds in which servers are killed.
    pub kills: u64,
    /// Rounds in which disks lose power.
    pub power_losses: u64,
    /// Everything that is decided by chance, but not the timing of threads, sockets and disks.
    pub seed: u64,
    /// Clusters side by side.
    pub clusters: u64,
    /// Only say what would be done.
    pub plan: bool,
}

impl Options {
    /// How to ask for it.
    pub const USAGE: &str = "\
--kills N          rounds in which servers are killed with SIGKILL        [default: 0]
--power-losses N   rounds in which disks lose power; needs root            [default: 0]
--seed S           who is hit, when, and what the load writes              [default: 1]
--clusters C       clusters of three nodes side by side, at most 8         [default: 3]
--plan             print the schedule of this seed and do nothing

Exit codes: 0 everything asked for was done and every promise kept; 1 a promise was broken; 2 not covered: this machine
cannot cut a disk's power, or the blows hit too little; 3 something else broke, or bad usage.";

    /// Reads a command line.
    pub fn parse(args: impl IntoIterator<Item = String>) -> Result<Options, String> {
        let mut options = Options { kills: 0, power_losses: 0, seed: 1, clusters: 3, plan: false };
        let mut args = args.into_iter();
        while let Some(arg) = args.next() {
            let mut number = || {
                let given = args.next().ok_or(format!("{arg} needs a number"))?;
                given.parse::<u64>().map_err(|_| format!("{arg} needs a number, not {given:?}"))
            };
            match arg.as_str() {
                "--kills" => options.kills = number()?,
                "--power-losses" => options.power_losses = number()?,
                "--seed" => options.seed = number()?,
                "--clusters" => options.clusters = number()?,
                "--plan" => options.plan = true,
                _ => return Err(format!("`{arg}` is not an option")),
            }
        }
        if options.kills + options.power_losses == 0 {
            return Err("nothing is asked for: give --kills N, or --power-losses N".to_owned());
        }
        if !(1..=8).contains(&options.clusters) {
            return Err(format!("{} clusters side by side are not 1 to 8", options.clusters));
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_and_nonsense_is_refused() {
        let parse = |line: &str| Options::parse(line.split_whitespace().map(str::to_owned));
        let all = Options { kills: 1000, power_losses: 200, seed: 7, clusters: 2, plan: true };
        assert_eq!(parse("--kills 1000 --power-losses 200 --seed 7 --clusters 2 --plan"), Ok(all));
        let few = Options { kills: 6, power_losses: 0, seed: 1, clusters: 3, plan: false };
        assert_eq!(parse("--kills 6"), Ok(few));
        for line in
            ["", "--kills", "--kills x", "--kills -1", "--kills 1 --clusters 0", "--kills 1 --clusters 9", "now"]
        {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
