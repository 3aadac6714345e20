//! How much memory a JSON text becomes when it is read as a tree: far more than the text, where that is made of tiny objects.

/// An object costs a node of a tree map, with room for eleven members.
const OBJECT_BYTES: usize = 656;
/// A list costs room for its first four elements.
const LIST_BYTES: usize = 160;
/// One more element or member, with the letters of its key.
const ELEMENT_BYTES: usize = 144;

/// An upper bound of the bytes that the tree of this text takes, the letters of its strings aside. What stands inside strings counts as
/// if it were structure.
pub fn of_tree(json: &[u8]) -> usize {
    json.iter().fold(0, |sum: usize, byte| {
        sum.saturating_add(match byte {
            b'{' => OBJECT_BYTES,
            b'[' => LIST_BYTES,
            b',' => ELEMENT_BYTES,
            _ => 0,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiny_objects_weigh_what_they_cost() {
        assert_eq!(of_tree(b"\"text\""), 0);
        let bomb = [&b"["[..], b"{\"\":0},".repeat(1000).as_slice(), b"0]"].concat();
        assert!(of_tree(&bomb) > 1000 * (OBJECT_BYTES + ELEMENT_BYTES));
        assert!(of_tree(br#"{"_email":"a@example.com","_inventory":"PD94bWw="}"#) < 2000);
    }
}
