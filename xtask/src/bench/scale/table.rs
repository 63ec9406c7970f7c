//! The tables of [`Scale`]: a row for each number of cores, also for those that the machine doesn't have.

use udco_testbed::busy_peers::{Carried, Way};

use super::plan::PEERS;
use super::{SUBJECTS, Scale};
use crate::bench::figure::Figure;
use crate::bench::outcome::middle;
use crate::bench::subject::Subject;
use crate::bench::table::table;

/// The figures of a tunnel.
const FIGURES: [Figure; 6] = [
    Figure::Tcp1Up,
    Figure::Tcp1Down,
    Figure::Tcp4Up,
    Figure::Tcp4Down,
    Figure::Udp64,
    Figure::CpuTunnel,
];

impl Scale {
    /// All busy peers together: 1000 packets/s, beside the fewest cores, and processor time.
    pub(crate) fn peers_table(&self) -> String {
        let rows = self.plan.measured.iter().flat_map(|&cores| {
            let ways = [(Way::Up, 1), (Way::Up, 32), (Way::Down, 1), (Way::Down, 32)];
            ways.map(|(way, row)| {
                let title = format!("{cores} | {way:?} | {row}");
                let cells = PEERS.map(|peers| {
                    let [rate, cost] = self.carried(cores, way, row, peers)?;
                    let [least, _] = self.carried(*self.plan.measured.first()?, way, row, peers)?;
                    let (thousands, beside) = (rate / 1e3, rate / least);
                    Some(format!("{thousands:.0} ({beside:.2}), {cost:.2}"))
                });
                (title, cells)
            })
        });
        let columns = PEERS.map(|peers| format!("busy peers: {peers}"));
        let columns = columns.each_ref().map(String::as_str);
        let corners = ["cores", "way", "packets in a row"];
        table(&corners, &columns, rows.chain(self.left_out(" | – | –")))
    }

    /// One tunnel: each figure, beside the fewest cores.
    pub(crate) fn tunnels_table(&self) -> String {
        let rows = self.plan.measured.iter().flat_map(|&cores| {
            SUBJECTS.map(|subject| {
                let title = format!("{cores} | {}", subject.title());
                let cells = FIGURES.map(|figure| {
                    let value = self.median(cores, subject, figure)?;
                    let least = self.median(*self.plan.measured.first()?, subject, figure)?;
                    Some(format!("{} ({:.2})", figure.show(value), value / least))
                });
                (title, cells)
            })
        });
        let columns = FIGURES.map(|figure| format!("{}, {}", figure.title(), figure.unit()));
        let columns = columns.each_ref().map(String::as_str);
        let corners = ["cores", ""];
        table(&corners, &columns, rows.chain(self.left_out(" | –")))
    }

    /// A row for each number of cores that the machine doesn't have; `rest` fills the columns between.
    fn left_out<const N: usize>(
        &self,
        rest: &str,
    ) -> impl Iterator<Item = (String, [Option<String>; N])> {
        self.plan.left_out.iter().map(move |cores| {
            let mut cells = [const { None }; N];
            cells[0] = Some(self.plan.why());
            (format!("{cores}{rest}"), cells)
        })
    }

    /// Medians: packets a second, and seconds of processor time for a million.
    fn carried(&self, cores: usize, way: Way, row: u32, peers: u16) -> Option<[f64; 2]> {
        let own = self
            .peers
            .iter()
            .find(|it| (it.cores, it.way, it.row, it.peers) == (cores, way, row, peers))?;
        let median = |of: fn(&Carried) -> f64| middle(own.samples.iter().map(of).collect());
        Some([median(|it| it.rate)?, median(|it| it.cost)?])
    }

    fn median(&self, cores: usize, subject: Subject, figure: Figure) -> Option<f64> {
        let is_it = |it: &&super::Tunnel| (it.cores, it.outcome.cell.subject) == (cores, subject);
        let tunnel = self.tunnels.iter().find(is_it)?;
        tunnel.outcome.median.get(&figure).copied()
    }
}
