package callback

import "github.com/primezap/primezap/services/oauth/internal/page"

// sections are what the script shows, one at a time, by their ids.
var sections = []page.Section{
	{
		ID: "finishing",
		Portuguese: page.Text{Heading: "Concluindo a conexão…", Lines: []string{
			"Esta janela se fecha sozinha.",
		}},
		English: page.Text{Heading: "Finishing the connection…", Lines: []string{
			"This window closes by itself.",
		}},
	},
	{
		ID: "done",
		Portuguese: page.Text{Heading: "Tudo certo", Lines: []string{
			"A página de onde você veio recebeu a resposta do Facebook. Você já pode fechar esta janela.",
		}},
		English: page.Text{Heading: "All done", Lines: []string{
			"The page you came from has Facebook's answer. You can close this window now.",
		}},
	},
	{
		ID: "denied",
		Portuguese: page.Text{Heading: "Acesso não permitido", Lines: []string{
			"O login no Facebook foi cancelado ou o acesso não foi permitido. Nada foi conectado.",
			"Se foi engano, feche esta janela, conecte de novo na página de integrações e permita o acesso quando o Facebook perguntar.",
		}},
		English: page.Text{Heading: "Access not allowed", Lines: []string{
			"The Facebook login was cancelled, or access was not allowed. Nothing was connected.",
			"If that was a mistake, close this window, connect again on the integrations page, and allow access when Facebook asks.",
		}},
	},
	{
		ID: "failed",
		Portuguese: page.Text{Heading: "O Facebook não concluiu o login", Lines: []string{
			"O Facebook respondeu com um erro. Nada foi conectado.",
			"Feche esta janela e tente de novo em alguns minutos. Se o erro continuar, avise o suporte.",
		}},
		English: page.Text{Heading: "Facebook did not complete the login", Lines: []string{
			"Facebook answered with an error. Nothing was connected.",
			"Close this window and try again in a few minutes. If it keeps failing, tell support.",
		}},
	},
	{
		ID: "unopened",
		Portuguese: page.Text{Heading: "Falta a página que abriu esta janela", Lines: []string{
			"O Facebook permitiu o acesso, mas a página de onde você veio foi fechada ou está em outro navegador. A conexão não foi concluída.",
			"Feche esta janela, volte à página de integrações e conecte de novo, deixando-a aberta até o fim.",
		}},
		English: page.Text{Heading: "The page that opened this window is missing", Lines: []string{
			"Facebook allowed access, but the page you came from was closed or is in another browser. The connection was not completed.",
			"Close this window, go back to the integrations page and connect again, keeping that page open until the end.",
		}},
	},
	{
		ID: "unanswered",
		Portuguese: page.Text{Heading: "A página que abriu esta janela não respondeu", Lines: []string{
			"O Facebook permitiu o acesso, mas a página de onde você veio não recebeu a resposta: talvez tenha sido recarregada, ou o endereço dela não esteja autorizado.",
			"Feche esta janela e veja na página de integrações se a conexão aparece. Se não aparecer, conecte de novo; se o problema continuar, avise o suporte.",
		}},
		English: page.Text{Heading: "The page that opened this window did not respond", Lines: []string{
			"Facebook allowed access, but the page you came from did not get the answer: it may have been reloaded, or its address may not be authorised.",
			"Close this window and see whether the connection appears on the integrations page. If it does not, connect again; if that keeps failing, tell support.",
		}},
	},
	{
		ID: "empty",
		Portuguese: page.Text{Heading: "Não há nada a fazer aqui", Lines: []string{
			"Esta página só conclui logins no Facebook, e nenhum está em andamento nesta janela.",
			"Para conectar uma página ou conta, comece pela página de integrações.",
		}},
		English: page.Text{Heading: "There is nothing to do here", Lines: []string{
			"This page only completes Facebook logins, and none is under way in this window.",
			"To connect a page or an account, begin on the integrations page.",
		}},
	},
}

// unable is what is shown where scripts do not run.
var unable = page.Section{
	Portuguese: page.Text{Heading: "Esta página precisa de JavaScript", Lines: []string{
		"Sem ele, a resposta do Facebook não chega à página de onde você veio. Ative o JavaScript e conecte de novo.",
	}},
	English: page.Text{Heading: "This page needs JavaScript", Lines: []string{
		"Without it, Facebook's answer does not reach the page you came from. Turn JavaScript on and connect again.",
	}},
}
