//! What can be seen of a fleet from outside.

use upshift_shared::fleet::{FleetFile, MemberName, Share};

use super::{
    machine::Fleet,
    member::{MemberId, MemberState},
    place::FleetPlace,
    roster::{NO_WAVE, number},
    tally::Tally,
};

impl Fleet {
    /// What is durable of it; to be stored when [`super::FleetCommand::Record`] says so.
    #[must_use]
    pub fn place(&self) -> &FleetPlace {
        &self.place
    }

    /// The order.
    #[must_use]
    pub fn order(&self) -> &FleetFile {
        &self.order
    }

    /// All members, waves first.
    pub fn members(&self) -> impl Iterator<Item = MemberId> + use<> {
        (0..number(self.roster.entries.len())).map(MemberId)
    }

    /// The member of that name.
    #[must_use]
    pub fn find(&self, name: &MemberName) -> Option<MemberId> {
        self.roster.find(name)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self, member: MemberId) -> MemberName {
        self.roster.name(member)
    }

    /// What it is at.
    #[must_use]
    pub fn state(&self, member: MemberId) -> MemberState {
        self.roster.entry(member).state
    }

    /// Whether it counts as failed, rolled back by now or not.
    #[must_use]
    pub fn has_failed(&self, member: MemberId) -> bool {
        self.roster.entry(member).failed
    }

    /// Whether what is done to it now an operator has ordered, and not the file.
    #[must_use]
    pub fn is_ordered(&self, member: MemberId) -> bool {
        self.roster.entry(member).ordered
    }

    /// Its wave, from 0; none where it is left alone.
    #[must_use]
    pub fn wave(&self, member: MemberId) -> Option<u32> {
        let wave = self.roster.entry(member).wave;
        (wave != NO_WAVE).then_some(wave)
    }

    /// Its server.
    #[must_use]
    pub fn server(&self, member: MemberId) -> &str {
        &self.roster.servers[self.roster.entry(member).server as usize].name
    }

    /// How many members of a wave stand how; of the whole fleet, those that are left alone among them.
    #[must_use]
    pub fn tally(&self, wave: Option<u32>) -> Tally {
        match wave {
            Some(wave) => {
                let side = self.waves.get(wave as usize);
                side.map(|side| side.tally).unwrap_or_default()
            }
            None => self.waves.iter().fold(self.apart, |mut sum, wave| {
                sum.add(&wave.tally);
                sum
            }),
        }
    }

    /// What is odd about the waves that have not been opened: those that take fewer databases than they
    /// are to though later ones have some.
    #[must_use]
    pub fn short_waves(&self) -> Vec<String> {
        let mut short = Vec::new();
        for (number, wave) in self
            .order
            .waves
            .iter()
            .enumerate()
            .skip(self.place.opened as usize)
        {
            let sizes = self.waves.iter().map(|side| side.members.len());
            let behind: usize = sizes.skip(number + 1).sum();
            let own = self.waves[number].members.len();
            let wanted = match wave.take {
                Share::Count(count) => count as usize,
                _ if wave.fits_all() => 0,
                _ => 1,
            };
            if behind > 0 && own < wanted {
                short.push(format!(
                    "wave {} is to take {wanted}, and finds {own} that fit",
                    wave.name
                ));
            }
        }
        short
    }
}
