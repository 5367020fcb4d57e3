package metatest

import "fmt"

// Mix is how many pages a user has, and of which kind.
type Mix struct {
	Pages     int `json:"pages"`
	Instagram int `json:"instagram"` // of them with an Instagram account: the first ones
	NoToken   int `json:"noToken"`   // of them whose tokens the user does not get: the last ones
}

// maxMix bounds the pages of a user who is made up.
const maxMix = 10_000

func (m Mix) check() error {
	if m.Pages < 0 || m.Pages > maxMix || m.Instagram < 0 || m.Instagram > m.Pages || m.NoToken < 0 || m.NoToken > m.Pages {
		return fmt.Errorf("pages must be 0 to %d, instagram and noToken no more of them", maxMix)
	}
	return nil
}

// AddUserWithPages adds a user and makes up their pages, and returns the user, who
// has the pages' ids. Their ids come from the user's, and are always the same.
func (w *World) AddUserWithPages(u User, m Mix) User {
	u.Pages = nil
	u.Tasks = make(map[string][]string)
	for i := range m.Pages {
		page := Page{ID: fmt.Sprintf("10%s%04d", u.ID, i+1), Name: fmt.Sprintf("Loja %d", i+1), Category: "Store"}
		w.Pages = put(w.Pages, page, func(p Page) string { return p.ID })
		u.Pages = append(u.Pages, page.ID)
		if i < m.Instagram {
			account := Account{
				ID: fmt.Sprintf("1784%s%04d", u.ID, i+1), Username: fmt.Sprintf("loja.%d", i+1), Name: page.Name, Followers: 100 * (i + 1), Page: page.ID,
			}
			w.Accounts = put(w.Accounts, account, func(a Account) string { return a.ID })
		}
		if i >= m.Pages-m.NoToken {
			u.Tasks[page.ID] = []string{"ADVERTISE", "ANALYZE"}
		}
	}
	w.Users = put(w.Users, u, func(u User) string { return u.ID })
	return u
}

// AddUserWithPages is [World.AddUserWithPages] for the world as it is now.
func (s *Server) AddUserWithPages(u User, m Mix) User {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.world.AddUserWithPages(u, m)
}
