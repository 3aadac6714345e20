//! What the memory of the server still holds when everybody has left.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
};

use memchr::memmem::Finder;

use crate::support::{
    Server,
    enrollment::{self, Http, Profile},
    until,
};

/// Bytes that are looked at in one go.
const PIECE_BYTES: usize = 1 << 20;

/// What stands below the stack of a thread.
const GUARD_BYTES: u64 = 4096;

/// How often these words stand in the writable memory of a process. The stacks of its threads are left out: what a call leaves there is
/// the next call's to overwrite.
fn counts(pid: u32, words: &[&str]) -> Vec<usize> {
    let longest = words.iter().map(|it| it.len()).max().unwrap();
    let finders: Vec<Finder> = words.iter().map(Finder::new).collect();
    let memory = File::open(format!("/proc/{pid}/mem")).unwrap();
    let mut counts = vec![0; words.len()];
    let mut guard_end = 0;
    for line in fs::read_to_string(format!("/proc/{pid}/maps")).unwrap().lines() {
        let mut parts = line.split_whitespace();
        let (range, rights) = (parts.next().unwrap(), parts.next().unwrap());
        let (from, to) = range.split_once('-').unwrap();
        let [from, to] = [from, to].map(|it| u64::from_str_radix(it, 16).unwrap());
        if rights == "---p" && to - from == GUARD_BYTES {
            guard_end = to;
        }
        if !rights.starts_with("rw") || from == guard_end {
            continue;
        }
        let mut piece = vec![0; PIECE_BYTES + longest];
        for at in (from..to).step_by(PIECE_BYTES) {
            let end = piece.len().min(usize::try_from(to - at).unwrap());
            // What the kernel keeps there is not ours.
            let Ok(read) = memory.read_at(&mut piece[..end], at) else { continue };
            for (finder, count) in finders.iter().zip(&mut counts) {
                *count += finder.find_iter(&piece[..read]).filter(|it| *it < PIECE_BYTES).count();
            }
        }
    }
    counts
}

#[tokio::test]
async fn passwords_and_tokens_do_not_outlive_their_use() {
    let server = Server::start().await;
    let invitation = enrollment::invite(&server, "AZERTY", 0).await;
    let mut phone = enrollment::enroll_with(&server, "AZERTY", &Profile::android(), &invitation).await;
    phone.comes_up(&server).await;
    let api_token = phone.settings["api_token"].as_str().unwrap().to_owned();
    let session = {
        let http = Http::of(&server);
        let session = http.session(&api_token).await;
        assert_eq!(http.get(&format!("/PluginFlyvemdmAgent/{}", phone.settings["id"]), &session).await.0, 200);
        session
    };
    let password = phone.password.clone();
    let secrets = [&*password, &api_token, &session, &invitation.user_token, &invitation.invitation_token];
    // The serial shows that what is there is found.
    assert!(counts(server.pid(), &["AZERTY"])[0] > 0);
    phone.says_goodbye().await;
    until("they are gone", async || {
        let left = counts(server.pid(), &secrets);
        left.iter().all(|it| *it == 0)
    })
    .await;
}
