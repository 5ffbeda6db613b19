package mailstore

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// maxKeyword is the longest keyword, in octets.
const maxKeyword = 255

// keywordBits gives the bits of keywords in a mailbox whose row is locked. Names
// are compared without case and keep their first spelling. With add, unknown
// ones are added to m and its row, into free slots, then into slots that no
// message uses any more; without, they have no bit. ErrTooManyKeywords.
func keywordBits(ctx context.Context, tx pgx.Tx, m *Mailbox, names []string, add bool) (Flags, error) {
	var bits Flags
	table := slices.Clone(m.Keywords)
	searched := false
	for _, name := range names {
		name = cleanText(name)
		if name == "" || len(name) > maxKeyword {
			return 0, ErrTooManyKeywords
		}
		i := slices.IndexFunc(table, func(k string) bool { return strings.EqualFold(k, name) })
		if i < 0 && !add {
			continue
		}
		if i < 0 {
			i = slices.Index(table, "")
		}
		if i < 0 && len(table) < MaxKeywords {
			i, table = len(table), append(table, "")
		}
		if i < 0 && !searched { // all slots are named: free those without a message
			searched = true
			used, err := usedKeywords(ctx, tx, m)
			if err != nil {
				return 0, err
			}
			for j := range table {
				if (used|bits)&KeywordFlag(j) == 0 {
					table[j] = ""
				}
			}
			i = slices.Index(table, "")
		}
		if i < 0 {
			return 0, ErrTooManyKeywords
		}
		if table[i] == "" {
			table[i] = name
		}
		bits |= KeywordFlag(i)
	}
	if !slices.Equal(table, m.Keywords) {
		if _, err := tx.Exec(ctx, `UPDATE mailbox SET keywords = $2 WHERE id = $1`, m.ID, table); err != nil {
			return 0, err
		}
		m.Keywords = table
	}
	return bits, nil
}

// usedKeywords gives the bits that any message of the mailbox has, those that
// can be undeleted included.
func usedKeywords(ctx context.Context, tx pgx.Tx, m *Mailbox) (used Flags, err error) {
	var bits int64
	err = tx.QueryRow(ctx, `SELECT coalesce(bit_or(f), 0) FROM (
		SELECT bit_or(flags) f FROM msg_state WHERE account_id = $1 AND mailbox_id = $2
		UNION ALL SELECT bit_or(c.sets) FROM mailbox b, mailbox_change c WHERE b.id = $2 AND c.account_id = $1 AND c.mailbox_id = $2 AND c.modseq >= b.fold_from
		UNION ALL SELECT bit_or(flags) FROM expunged WHERE account_id = $1 AND mailbox_id = $2 AND NOT moved) u`, m.Account, m.ID).Scan(&bits)
	return Flags(bits), err
}

// translateKeywords gives the SQL that turns the flags of messages in one
// mailbox into those of another: keywords have ordinals of their own in each.
// What the messages use and the destination does not know is added there. Flags
// that are not in keep are left out: keywords all together or not.
func translateKeywords(ctx context.Context, tx pgx.Tx, from, to *Mailbox, uids UIDSet, keep Flags) (string, error) {
	if from.ID == to.ID || len(from.Keywords) == 0 || keep&keywordMask == 0 {
		return fmt.Sprintf(`flags & %d`, int64(keep)), nil
	}
	var bits int64
	if err := tx.QueryRow(ctx, `SELECT coalesce(bit_or(flags), 0) FROM msg_state WHERE account_id = $1 AND mailbox_id = $2 AND uid = ANY($3)`,
		from.Account, from.ID, uids.int64s()).Scan(&bits); err != nil {
		return "", err
	}
	sql := fmt.Sprintf(`(flags & %d`, int64(SystemFlags&keep))
	names := Flags(bits).Keywords(from.Keywords)
	if _, err := keywordBits(ctx, tx, to, names, true); err != nil {
		return "", err
	}
	for i, name := range from.Keywords {
		if name == "" || Flags(bits)&KeywordFlag(i) == 0 {
			continue
		}
		bit, err := keywordBits(ctx, tx, to, []string{name}, true)
		if err != nil {
			return "", err
		}
		sql += fmt.Sprintf(` | CASE WHEN flags & %d <> 0 THEN %d ELSE 0 END`, int64(KeywordFlag(i)), int64(bit))
	}
	return sql + `)`, nil
}
