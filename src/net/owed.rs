//! Answers that their readers are entitled to: as long as one is being written, its connection keeps its place.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::{
    Error,
    body::{Body, Bytes},
    response::Response,
};
use hyper::body::{Body as HttpBody, Frame, SizeHint};

use crate::flows::{
    Flows,
    guard::{Owed, Place},
};

/// Keeps the place of the connection until an answer that is [`Owed`] was written.
pub fn keep_place(answer: Response, flows: Arc<Flows>, place: Arc<Place>) -> Response {
    if answer.extensions().get::<Owed>().is_none() || !place.settle() {
        return answer;
    }
    answer.map(|body| Body::new(Kept { body, flows, place }))
}

struct Kept {
    body: Body,
    flows: Arc<Flows>,
    place: Arc<Place>,
}

impl HttpBody for Kept {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.place.unsettle(self.flows.clock.instant());
    }
}
