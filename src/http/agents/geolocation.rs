//! Positions that agents report by HTTP (spec/http.md §6.1). Reads and answers; what a position changes is decided in the flow.

use axum::{http::StatusCode, response::Response};
use serde_json::{Map, Value, json};

use super::{Request, agent, json as answer, speaker};
use crate::{
    clock::Timestamp,
    flows::{
        Flows,
        enroll::{Position, Said},
        session::Speaker,
    },
    http::error::ApiError,
    mdm::inbound::coordinate,
};

/// One position, said by the agent itself.
pub async fn report(flows: &Flows, request: &Request) -> Result<Response, ApiError> {
    let speaker = speaker(flows, request).await?;
    let Some(Value::Object(input)) = request.params.get("input") else { return Err(ApiError::bad_input()) };
    let Some(id) = agent::number(input.get("_agents_id")) else { return Err(refused("Agent ID is mandatory")) };
    let Speaker::Agent(own) = speaker else { return Err(ApiError::no_right()) };
    let said = position(input, flows.clock.now()).map_err(refused)?;
    let agent = match flows.agent(own).await? {
        Some(agent) if id == own.0 => agent,
        _ => return Err(refused("Device not found")),
    };
    let at = said.at;
    flows.hear(&agent, Said { position: Some(said), ..Said::default() }).await?;
    let number = flows.store.position_number(agent.computer, at).await?;
    Ok(answer(StatusCode::CREATED, &json!({"id": number, "message": ""})))
}

/// Without a time the position counts as of now. The computer is that of the agent, whatever the input says.
fn position(input: &Map<String, Value>, now: Timestamp) -> Result<Position, &'static str> {
    let seconds = agent::number(input.get("_datetime"));
    let is_off = input.get("_gps").and_then(Value::as_str).is_some_and(|it| it.eq_ignore_ascii_case("off"));
    let at = seconds.and_then(|it| it.checked_mul(1000)).map_or(now, Timestamp);
    match (input.get("latitude"), input.get("longitude")) {
        (Some(latitude), Some(longitude)) => Ok(Position {
            at,
            latitude: coordinate(latitude).map_err(|_| "latitude is invalid")?,
            longitude: coordinate(longitude).map_err(|_| "longitude is invalid")?,
        }),
        _ if is_off && seconds.is_some() => Ok(Position { at, latitude: "na".into(), longitude: "na".into() }),
        _ => Err("latitude and longitude are mandatory"),
    }
}

fn refused(message: &'static str) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, "ERROR_GLPI_ADD", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_read_as_the_agents_write_them() {
        fn check(input: Value, expected: Result<(i64, &str, &str), &str>) {
            let read = position(input.as_object().unwrap(), Timestamp(5));
            let expected = expected.map(|(at, latitude, longitude)| Position {
                at: Timestamp(at),
                latitude: latitude.into(),
                longitude: longitude.into(),
            });
            assert_eq!(read, expected, "{input}");
        }
        let na = Ok((1_499_364_642_000, "na", "na"));
        check(
            json!({"_datetime": 1_499_364_642, "latitude": "10.2", "longitude": -67.5}),
            Ok((1_499_364_642_000, "10.2", "-67.5")),
        );
        check(json!({"_datetime": "1499364642", "_gps": "off"}), na);
        check(json!({"latitude": "10.2", "longitude": "-67.5"}), Ok((5, "10.2", "-67.5")));
        check(json!({"_gps": "off"}), Err("latitude and longitude are mandatory"));
        check(json!({"latitude": "10.2"}), Err("latitude and longitude are mandatory"));
        check(json!({"latitude": "181", "longitude": "0"}), Err("latitude is invalid"));
        check(json!({"latitude": "0", "longitude": "NaN"}), Err("longitude is invalid"));
    }
}
