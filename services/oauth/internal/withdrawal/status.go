package withdrawal

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"time"

	"github.com/primezap/primezap/pkg/store"
	"github.com/primezap/primezap/pkg/store/db"
	"github.com/primezap/primezap/services/oauth/internal/asked"
	"github.com/primezap/primezap/services/oauth/internal/openapi"
	"github.com/primezap/primezap/services/oauth/internal/page"
)

var codePattern = regexp.MustCompile(`^[0-9a-f]{32}$`)

// GetFacebookDataDeletion serves GET /oauth/facebook/data-deletion/:code. Nothing of the
// URL is in the page.
func (s *Service) GetFacebookDataDeletion(ctx context.Context, req openapi.GetFacebookDataDeletionRequestObject) (openapi.GetFacebookDataDeletionResponseObject, error) {
	status, section := http.StatusOK, unknown
	row, err := s.find(ctx, req.Code)
	switch {
	case errors.Is(err, store.ErrNotFound):
		status = http.StatusNotFound
	case err != nil:
		return nil, err
	default:
		section = describe(row)
	}
	p := page.Page{Title: "Facebook – PrimeZap", Sections: []page.Section{section}}
	return p.Render(status, page.Prefers(asked.Languages(ctx), page.Portuguese))
}

func (s *Service) find(ctx context.Context, code string) (db.WithdrawalOfCodeRow, error) {
	if !codePattern.MatchString(code) {
		return db.WithdrawalOfCodeRow{}, store.ErrNotFound
	}
	row, err := s.Store.Queries().WithdrawalOfCode(ctx, code)
	if err != nil {
		return row, fmt.Errorf("read a withdrawal: %w", store.Found(err))
	}
	return row, nil
}

var unknown = page.Section{
	Portuguese: page.Text{Heading: "Pedido não encontrado", Lines: []string{
		"Não há pedido com este código, ou ele foi concluído há mais de 400 dias.",
		"Confira se o endereço está completo, como o Facebook o mostrou.",
	}},
	English: page.Text{Heading: "Request not found", Lines: []string{
		"No request has this code, or it was completed more than 400 days ago.",
		"Check that the address is complete, as Facebook showed it.",
	}},
}

// describe says how far a withdrawal is.
func describe(row db.WithdrawalOfCodeRow) page.Section {
	pt, en := "Exclusão de dados", "Data deletion"
	ptWill := "Os dados do seu login no Facebook estão sendo excluídos: seu nome, seu identificador, suas permissões e os tokens de acesso. Volte a esta página para ver quando terminar."
	enWill := "The data of your Facebook login is being deleted: your name, your id, your permissions and the access tokens. Come back to this page to see when it is done."
	ptDone := "Os dados do seu login no Facebook foram excluídos: seu nome, seu identificador, suas permissões e os tokens de acesso. Não é preciso fazer mais nada."
	enDone := "The data of your Facebook login was deleted: your name, your id, your permissions and the access tokens. There is nothing more to do."
	if row.Kind == deauthorize {
		pt, en = "Remoção do acesso", "Removal of access"
		ptWill = "Os tokens de acesso que vieram do seu login no Facebook estão sendo excluídos. Volte a esta página para ver quando terminar."
		enWill = "The access tokens that came by your Facebook login are being deleted. Come back to this page to see when it is done."
		ptDone = "Os tokens de acesso que vieram do seu login no Facebook foram excluídos. Não é preciso fazer mais nada."
		enDone = "The access tokens that came by your Facebook login were deleted. There is nothing more to do."
	}
	received := [2]string{"Pedido recebido em " + inPortuguese(row.RequestedAt) + ".", "Request received on " + inEnglish(row.RequestedAt) + "."}
	if row.CompletedAt == nil {
		return page.Section{
			Portuguese: page.Text{Heading: pt + " em andamento", Lines: []string{received[0], ptWill}},
			English:    page.Text{Heading: en + " under way", Lines: []string{received[1], enWill}},
		}
	}
	return page.Section{
		Portuguese: page.Text{Heading: pt + " concluída", Lines: []string{received[0], "Concluído em " + inPortuguese(*row.CompletedAt) + ".", ptDone}},
		English:    page.Text{Heading: en + " completed", Lines: []string{received[1], "Completed on " + inEnglish(*row.CompletedAt) + ".", enDone}},
	}
}

func inPortuguese(t time.Time) string { return t.UTC().Format("02/01/2006, 15:04 UTC") }

func inEnglish(t time.Time) string { return t.UTC().Format("2 January 2006, 15:04 UTC") }
