//! What is written again when the database takes it.

use std::sync::Arc;

use super::*;
use crate::{
    broker::outbox::{Outbox, OutboxBounds},
    flows::admit::tests::World,
    mdm::agent::Agent,
};

impl World {
    async fn agent(&self, serial: &str) -> Agent {
        self.flows.store.agents_at(serial, None).await.unwrap().swap_remove(0).agent
    }

    fn connects(&self, agent: &Agent, connection: i64) {
        let outbox = Arc::new(Outbox::new(OutboxBounds { messages_max: 1, bytes_max: 1 }));
        assert!(self.flows.hub.enter_device(agent, ConnectionNumber(connection), &outbox));
    }

    async fn writes(&self, agent: &Agent, connection: i64, is_online: bool) {
        let presence = Presence { agent: agent.id, connection: ConnectionNumber(connection), is_online };
        answer(self.flows.submit_presence([presence].into_iter())).await.unwrap();
    }

    /// Two agents of which the first came and the second left unnoticed.
    async fn unsettled(&self) -> (Agent, Agent) {
        let (here, away) = (self.agent("AZERTY").await, self.agent("QWERTY").await);
        self.connects(&here, 5);
        self.writes(&away, 4, true).await;
        (here, away)
    }

    async fn settles(&self, (here, away): (Agent, Agent)) {
        self.flows.doubts.add(here.id, ConnectionNumber(5));
        self.flows.doubts.add(away.id, ConnectionNumber(4));
        self.flows.settle_presence().await.unwrap();
        self.row_says(&here, 5, true).await;
        self.row_says(&away, 4, false).await;
        assert!(self.flows.doubts.is_empty());
    }

    async fn row_says(&self, agent: &Agent, connection: i64, is_online: bool) {
        let rows = self.flows.store.presence_after(None, AT_ONCE).await.unwrap();
        let row = rows.into_iter().find(|it| it.agent == agent.id).unwrap();
        assert_eq!((row.connection.0, row.is_online), (connection, is_online), "{}", agent.serial);
    }
}

#[tokio::test]
async fn who_came_and_who_left_is_written_as_it_is_now() {
    let world = World::new().await;
    let unsettled = world.unsettled().await;
    world.settles(unsettled).await;
}

#[tokio::test]
async fn what_a_newer_connection_wrote_stays() {
    let world = World::new().await;
    let (here, away) = (world.agent("AZERTY").await, world.agent("QWERTY").await);
    world.connects(&here, 7);
    world.writes(&here, 7, false).await; // as the device says itself
    world.writes(&away, 7, true).await; // its connection is about to enter
    world.flows.doubts.add(here.id, ConnectionNumber(5));
    world.flows.doubts.add(away.id, ConnectionNumber(5));
    world.flows.settle_presence().await.unwrap();
    world.row_says(&here, 7, false).await;
    world.row_says(&away, 7, true).await;
}

#[tokio::test]
async fn more_than_are_remembered_are_found_by_looking_at_everybody() {
    let world = World::new().await;
    let unsettled = world.unsettled().await;
    for id in 0..i64::try_from(DOUBTS_MAX).unwrap() {
        world.flows.doubts.add(AgentId(1_000_000 + id), ConnectionNumber(1));
    }
    world.flows.doubts.add(unsettled.0.id, ConnectionNumber(5));
    assert_eq!(world.flows.doubts.len(), DOUBTS_MAX);
    world.settles(unsettled).await;
}

#[tokio::test]
async fn what_still_cannot_be_written_stays_in_doubt() {
    let world = World::new().await;
    let away = world.agent("QWERTY").await;
    world.flows.doubts.add(away.id, ConnectionNumber(4));
    world.flows.store.close().await.unwrap();
    assert!(world.flows.settle_presence().await.is_err());
    assert_eq!(world.flows.doubts.len(), 1);
}
