//! What a connection waits for: room on the socket, mail, bytes, the deadline.

use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use tokio::time::{Sleep, sleep_until};

use super::{BACKLOG_BYTES_MAX, Conn};

/// Bytes that a client may say before it is the turn of others.
const TURN_BYTES_MAX: usize = 64 * 1024;
/// Mail that is read before the socket is, though there is more: a client that gets messages without end is still heard.
const MAIL_IN_A_ROW_MAX: u8 = 16;
/// A deadline so far away that it never comes.
const FAR: Duration = Duration::from_secs(86_400 * 365);

/// What happened.
pub(super) enum Event {
    Read,
    /// The client takes more of what it found retained.
    Room,
    Mail,
    Deadline,
    Eof,
    Broken,
}

impl Conn {
    /// An alarm that is not set yet.
    pub(super) fn alarm(&mut self) -> Sleep {
        self.alarm_at = self.flows.clock.instant() + FAR;
        sleep_until(self.alarm_at.into())
    }

    pub(super) async fn wait(&mut self, mut alarm: Pin<&mut Sleep>) -> Event {
        let mut was_woken = false;
        poll_fn(|context| {
            let event = self.poll_event(context, alarm.as_mut(), was_woken);
            was_woken = true;
            event
        })
        .await
    }

    fn poll_event(&mut self, context: &mut Context<'_>, alarm: Pin<&mut Sleep>, was_woken: bool) -> Poll<Event> {
        let now = self.flows.clock.instant();
        if !self.session.transmit().is_empty() {
            let waiting = self.session.transmit().len();
            match self.stream.poll_write_all(context, self.session.transmit()) {
                Poll::Ready(Err(_)) => return Poll::Ready(Event::Broken),
                Poll::Ready(Ok(())) | Poll::Pending => {
                    let written = waiting - self.session.transmit().len();
                    self.told = self.told.saturating_sub(written);
                    self.flows.metrics.sent.inc_by(written as u64);
                }
            }
        }
        let takes_messages = self.takes_messages();
        if takes_messages && self.seat.has_found() {
            return Poll::Ready(Event::Room);
        }
        let has_mail = self.outbox.poll_mail(context, takes_messages).is_ready();
        if has_mail && self.mail_in_a_row < MAIL_IN_A_ROW_MAX {
            self.mail_in_a_row += 1;
            return Poll::Ready(Event::Mail);
        }
        self.mail_in_a_row = 0;
        // Behind a large message a slow client is still heard, or its silence would be ours.
        let answers = self.session.transmit().len() - self.told;
        if self.session.wants_read() && answers < BACKLOG_BYTES_MAX && self.deaf_until.is_none() {
            if self.turn_bytes >= TURN_BYTES_MAX {
                self.turn_bytes = 0;
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            let session = &mut self.session;
            let read = self.stream.poll_read_with(context, |bytes| {
                session.handle_bytes(bytes, now);
                bytes.len()
            });
            match read {
                Poll::Ready(Ok(0)) => return Poll::Ready(Event::Eof),
                Poll::Ready(Ok(count)) => {
                    self.turn_bytes += count;
                    self.flows.metrics.received.inc_by(count as u64);
                    return Poll::Ready(Event::Read);
                }
                Poll::Ready(Err(_)) => return Poll::Ready(Event::Broken),
                Poll::Pending => {}
            }
        }
        if has_mail {
            return Poll::Ready(Event::Mail);
        }
        let event = self.poll_alarm(context, alarm, now, was_woken);
        if event.is_pending() {
            self.turn_bytes = 0;
            self.session.release_idle();
        }
        event
    }

    /// The alarm is moved only when it rings or would ring too late, and looked at only when it may have rung: packets cost it nothing.
    fn poll_alarm(
        &mut self,
        context: &mut Context<'_>,
        mut alarm: Pin<&mut Sleep>,
        now: Instant,
        was_woken: bool,
    ) -> Poll<Event> {
        // Who is not heard cannot be silent.
        let deadlines = [self.deaf_until.or_else(|| self.session.poll_timeout()), self.implicit_subscription_at];
        let Some(next) = deadlines.into_iter().flatten().min() else { return Poll::Pending };
        let is_silent = !was_woken && now < self.alarm_at;
        if is_silent && self.alarm_at <= next {
            return Poll::Pending;
        }
        if self.alarm_at > next {
            self.alarm_at = next;
            alarm.as_mut().reset(next.into());
        }
        while alarm.as_mut().poll(context).is_ready() {
            if self.flows.clock.instant() >= next {
                return Poll::Ready(Event::Deadline);
            }
            self.alarm_at = next;
            alarm.as_mut().reset(next.into());
        }
        Poll::Pending
    }
}
